package config_test

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/retention"
)

// Whatever the bytes are, Parse answers, gives the same answer again, and what it accepts is valid by rules that are written
// down here once more.
func FuzzParse(f *testing.F) {
	for _, text := range goodFiles(f) {
		f.Add([]byte(text))
	}
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, ".yaml") {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("x", data)
		again, againErr := config.Parse("x", data)
		if diff := cmp.Diff(c, again); diff != "" {
			t.Fatalf("two answers:\n%s", diff)
		}
		var problems config.Problems
		switch {
		case err == nil:
			if c == nil || againErr != nil {
				t.Fatal(c, againErr)
			}
			audit(t, c)
		case c != nil || !errors.As(err, &problems) || len(problems) == 0 || againErr == nil || err.Error() != againErr.Error():
			t.Fatal(c, err, againErr)
		}
	})
}

var (
	dockerName = regexp.MustCompile(`\A[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\z`)
	roleName   = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9_.$-]{0,62}\z`)
)

func audit(t *testing.T, c *config.Config) {
	t.Helper()
	check := func(ok bool, what string) {
		if !ok {
			t.Errorf("%s in %+v", what, c)
		}
	}
	check(c.Version == 1, "version")
	check(place(c.StateDir) && place(c.RunDir) && c.StateDir != c.RunDir, "state_dir, run_dir")
	check(c.Metrics == "" || place(c.Metrics), "metrics")
	check(len(c.Apps) > 0, "apps")
	apps := map[string]bool{}
	for _, a := range c.Apps {
		check(driver.ValidApp(a.Name) && !apps[a.Name], "app name")
		apps[a.Name] = true
		check(a.Project == "" || dockerName.MatchString(a.Project), "project")
		check((a.Project != "" || len(a.Volumes) > 0) == (a.Source == nil), "volumes")
		check(a.Source == nil || a.Source.SSH != "" && len(a.Replicate) > 0, "source")
		names := map[string]bool{}
		for _, v := range a.Volumes {
			check((v.Volume == "") != (v.Path == ""), "volume and path")
			check(v.Volume == "" || dockerName.MatchString(v.Volume), "volume")
			check(v.Path == "" || place(v.Path), "path")
			check(!names[v.Name()], "volume twice")
			names[v.Name()] = true
		}
		for _, v := range a.Volumes {
			for _, older := range v.NotOlderThan {
				check(names[older] && older != v.Name(), "not_older_than")
			}
		}
		again, err := retention.ParseKeep(a.Keep.String())
		check(err == nil && again == a.Keep, "keep")
		if a.Source == nil {
			check(a.Freeze.Limit >= 1e8 && a.Freeze.Limit <= 600e9, "limit")
			check(a.Freeze.StepsGiven || len(a.Freeze.Steps) == 1, "default steps")
		}
		for _, s := range a.Freeze.Steps {
			auditStep(t, s)
		}
	}
}

func place(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && p != "/" && len(p) < 4096 && !strings.ContainsAny(p, "\x00\n\r\x1b")
}

func auditStep(t *testing.T, s config.Step) {
	t.Helper()
	ok := false
	switch s := s.(type) {
	case config.Postgres:
		ok = dockerName.MatchString(s.Container) && roleName.MatchString(s.User) && roleName.MatchString(s.Database) && s.Timeout > 0
	case config.Exec:
		ok = dockerName.MatchString(s.Container) && len(s.Freeze) > 0 && s.Freeze[0] != "" && s.Timeout > 0 &&
			!strings.Contains(strings.Join(append(s.Freeze, s.Thaw...), ""), "\x00")
	case config.Pause:
		ok = true
		for _, c := range s.Containers {
			ok = ok && dockerName.MatchString(c)
		}
	}
	if !ok {
		t.Errorf("step %+v", s)
	}
}
