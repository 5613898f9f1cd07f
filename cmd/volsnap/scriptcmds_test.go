package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/volsnap/volsnap/internal/state"
	"github.com/volsnap/volsnap/internal/testhost"
)

// scriptCommands are what scripts can do beyond testscript's own commands.
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"mountbtrfs": cmdMountBtrfs, // mountbtrfs: set BTRFS to a fresh file system
	"subvol":     cmdSubvol,     // subvol PATH...: make subvolumes
	"mounttmpfs": cmdMountTmpfs, // mounttmpfs DIR
	"engine":     cmdEngine,     // engine: set DOCKER_HOST to a real one
	"docker":     cmdDocker,     // docker ARGS...: its command, on that engine
	"container":  cmdContainer,  // container NAME FLAGS...: start one; it goes with the script
	"sshd":       cmdSSHD,       // sshd ARGS...: set SSHD and IDENTITY to a server of which the key does `volsnap ARGS...`
	"configure":  cmdConfigure,  // configure FILE: fill in $VARIABLES, and use it as configuration
	"exits":      cmdExits,      // exits STATUS COMMAND ARGS...
	"remember":   cmdRemember,   // remember: note everything that must not change
	"unchanged":  cmdUnchanged,  // [!] unchanged: compare with that
	"json":       cmdJSON,       // [!] json FILE PATH VALUE: see there
	"keys":       cmdKeys,       // keys FILE PATH NAME...: these, and no other
	"sets":       cmdSets,       // sets DIR TIME...: sets of $APP of that subvolume, taken at these times
	"lock":       cmdLock,       // lock APP: as another run has it
	"unlock":     cmdUnlock,     // unlock APP
	"setenv":     cmdSetenv,     // setenv NAME FILE: its first line
	"setenvjson": cmdSetenvJSON, // setenvjson NAME PATH FILE: a string of a JSON document
	"fill":       cmdFill,       // fill FROM TO: with $VARIABLES filled in
	"normal":     cmdNormal,     // normal FROM TO: without what differs from run to run
	"plain":      cmdPlain,      // plain FILE: no control characters but line ends
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

func runTool(argv ...string) error {
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%q: %w: %s", argv, err, out)
	}
	return nil
}

func cmdMountBtrfs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "mountbtrfs")
	mnt, unmount, err := testhost.NewBtrfs(imageSize)
	ts.Check(err)
	ts.Defer(func() { ts.Check(unmount()) })
	ts.Setenv("BTRFS", mnt)
}

func cmdSubvol(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "subvol PATH...")
	for _, path := range args {
		ts.Check(runTool("btrfs", "-q", "subvolume", "create", ts.MkAbs(path)))
	}
}

func cmdMountTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "mounttmpfs DIR")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	ts.Check(runTool("mount", "-t", "tmpfs", "volsnap-test", dir))
	ts.Defer(func() { ts.Check(runTool("umount", dir)) })
}

func cmdEngine(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "engine")
	e, err := dockerEngine()
	ts.Check(err)
	ts.Setenv("DOCKER_HOST", e.Host)
}

func cmdDocker(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "docker ARGS...")
	e, err := dockerEngine()
	ts.Check(err)
	out, err := e.CLI(args...)
	ts.Check(err)
	_, err = fmt.Fprintln(ts.Stdout(), out)
	ts.Check(err)
}

func cmdContainer(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "container NAME FLAGS...")
	e, err := dockerEngine()
	ts.Check(err)
	_, err = e.StartContainer(args[0], testhost.RunOptions{Flags: args[1:]})
	ts.Check(err)
	ts.Defer(func() {
		_, err := e.CLI("rm", "-f", "-v", args[0])
		ts.Check(err)
	})
}

func cmdSSHD(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 0, "sshd ARGS...")
	ts.Check(testhost.HaveSSH())
	bin := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "volsnap")); err == nil {
			bin = filepath.Join(dir, "volsnap")
			break
		}
	}
	command := []string{bin}
	for _, arg := range args {
		command = append(command, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	dir := ts.MkAbs("sshd")
	ts.Check(os.Mkdir(dir, 0o700))
	s, err := testhost.NewSSHD(dir, strings.Join(command, " "))
	ts.Check(err)
	ts.Defer(s.Close)
	ts.Setenv("SSHD", s.Destination())
	ts.Setenv("IDENTITY", s.Identity)
	ts.Setenv("PATH", filepath.Join(dir, "bin")+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}

func cmdConfigure(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "configure FILE")
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	if !strings.Contains(text, "state_dir:") {
		text = fmt.Sprintf("state_dir: %q\nrun_dir: %q\n", ts.Getenv("STATE"), ts.Getenv("RUN")) + text
	}
	path := ts.MkAbs(args[0] + ".filled")
	ts.Check(os.WriteFile(path, []byte(text), 0o600))
	ts.Setenv("VOLSNAP_CONFIG", path)
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "exits STATUS COMMAND ARGS...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func cmdRemember(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "remember")
	memoryOf(ts).before = snapshotState(ts)
}

func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 0, "[!] unchanged")
	diff := cmp.Diff(memoryOf(ts).before, snapshotState(ts))
	if neg == (diff == "") {
		ts.Fatalf("changed: %t\n%s", diff != "", diff)
	}
}

func snapshotState(ts *testscript.TestScript) string {
	seen, err := fingerprint(ts.Getenv("BTRFS"), ts.Getenv("STATE"), ts.Getenv("RUN"))
	ts.Check(err)
	return seen
}

func cmdLock(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "lock APP")
	lock, err := state.LockApp(context.Background(), ts.Getenv("RUN"), args[0])
	ts.Check(err)
	m := memoryOf(ts)
	m.locks[args[0]] = lock.Release
	ts.Defer(func() {
		if release := m.locks[args[0]]; release != nil {
			ts.Check(release())
		}
	})
}

func cmdUnlock(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "unlock APP")
	m := memoryOf(ts)
	ts.Check(m.locks[args[0]]())
	delete(m.locks, args[0])
}

func cmdSetenv(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "setenv NAME FILE")
	line, _, _ := strings.Cut(ts.ReadFile(args[1]), "\n")
	ts.Setenv(args[0], line)
}

func cmdSetenvJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 3, "setenvjson NAME PATH FILE")
	v, err := at(ts.ReadFile(args[2]), args[1])
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprint(v))
}

func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "fill FROM TO")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

func cmdSets(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "sets DIR TIME...")
	for _, at := range args[1:] {
		t, err := time.Parse(time.RFC3339Nano, at)
		ts.Check(err)
		_, err = takeSet(ts.Getenv("APP"), t, ts.MkAbs(args[0]))
		ts.Check(err)
	}
}

var variable = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\d{8}T\d{6}\.\d{3}Z`), "STAMP"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`), "GUID"},
	{regexp.MustCompile(`\d+\.\d ms`), "N ms"},
	{regexp.MustCompile(`([a-z_0-9]+)-[0-9a-f]{8}/volsnap-`), "$1-HASH/volsnap-"},
	{regexp.MustCompile(`\b\d+s\b`), "Ns"},
	{regexp.MustCompile(`(\S) {3,}`), "$1  "},
}

func cmdNormal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "normal FROM TO")
	text := ts.ReadFile(args[0])
	for _, name := range []string{"BTRFS", "WORK", "APP"} {
		if value := ts.Getenv(name); value != "" {
			text = strings.ReplaceAll(text, value, strings.ToUpper(name))
		}
	}
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.instead)
	}
	ts.Check(os.WriteFile(filepath.Clean(ts.MkAbs(args[1])), []byte(text), 0o600))
}

func cmdPlain(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "plain FILE")
	for i, r := range ts.ReadFile(args[0]) {
		if r != '\n' && text(string(r)) != string(r) {
			ts.Fatalf("%s has %q at %d", args[0], r, i)
		}
	}
}
