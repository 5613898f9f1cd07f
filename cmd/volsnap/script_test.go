package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write what was printed into the scripts")

// TestScripts runs the scripts in testdata/script. Besides the commands of testscript they have those of scriptCommands, and
// in the environment:
//
//	APP           a name of an app that no other script uses
//	STATE, RUN    the state and run directories that `configure` puts into the configuration
//	BTRFS         after `mountbtrfs`, where a fresh file system is mounted
//	DOCKER_HOST   a socket that nobody listens on; after `engine`, that of a real engine
func TestScripts(t *testing.T) {
	requireParts(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), Cmds: scriptCommands, Setup: setUpScript, UpdateScripts: *update,
		RequireUniqueNames: true,
		Condition: func(cond string) (bool, error) {
			if cond != "configured" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat(defaultConfig)
			return err == nil, nil
		},
	})
}

func setUpScript(env *testscript.Env) error {
	app := newApp()
	for _, v := range [][2]string{
		{"APP", app},
		{"STATE", filepath.Join(env.WorkDir, "state dir")},
		{"RUN", filepath.Join(env.WorkDir, "run dir")},
		{"DOCKER_HOST", "unix://" + filepath.Join(env.WorkDir, "no.sock")},
		{"TZ", "UTC"},
		{"PATH", os.Getenv("PATH")},
		{"GORACE", "atexit_sleep_ms=10 " + os.Getenv("GORACE")}, // else each command takes a second longer
	} {
		env.Setenv(v[0], v[1])
	}
	env.Values[memoryKey{}] = &memory{locks: map[string]func() error{}}
	return nil
}

// memory is what the commands of one script share.
type memory struct {
	before string                  // what `remember` saw
	locks  map[string]func() error // held by `lock`
}

type memoryKey struct{}

func memoryOf(ts *testscript.TestScript) *memory {
	m, ok := ts.Value(memoryKey{}).(*memory)
	if !ok {
		ts.Fatalf("the script was not set up")
	}
	return m
}
