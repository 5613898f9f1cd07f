package packaging_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a systemd of its own, with the shipped units, in namespaces of its own: nothing of this host but its /usr and
// its kernel. It is killed at the end of the test, and with the test.
type machine struct {
	t    *testing.T
	root string
	init string // process id of its systemd
}

func boot(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	if _, err := os.Stat("/usr/lib/systemd/systemd"); err != nil {
		t.Skip(err)
	}
	m := &machine{t: t, root: t.TempDir()}
	m.furnish()
	group := m.controlGroup()
	var console bytes.Buffer
	script := `echo $$ >"$1/cgroup.procs" && exec unshare --mount --pid --cgroup --uts --ipc --net --propagation private \
		--fork --kill-child testdata/boot "$2"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", group, m.root)
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig speaks of the thread that started the process (prctl(2))
	t.Cleanup(runtime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("console:\n%s", console.String())
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	m.until("its systemd answers", func() bool {
		text, _ := os.ReadFile(children)
		if m.init = strings.TrimSpace(string(text)); m.init == "" {
			return false
		}
		state, _ := m.run("systemctl", "is-system-running")
		return state == "running" || state == "degraded"
	})
	return m
}

// furnish puts the units into the root, with the stand-in as their binary.
func (m *machine) furnish() {
	m.t.Helper()
	files, err := filepath.Glob("systemd/*")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		m.write("etc/systemd/system/"+filepath.Base(file), strings.ReplaceAll(string(text), "/usr/bin/volsnap", "/volsnap"), 0o644)
	}
	standIn, err := os.ReadFile("testdata/volsnap")
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("volsnap", string(standIn), 0o755)
	m.write("log", "", 0o600)
	m.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	m.write("etc/group", "root:x:0:\n", 0o644)
	m.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n", 0o644)
	m.write("etc/systemd/system/test.target", "[Unit]\nDefaultDependencies=no\n", 0o644)
	// A service of the real system waits for the whole boot, of which there is nothing here.
	m.write("etc/systemd/system/volsnap@.service.d/test.conf", "[Unit]\nDefaultDependencies=no\n", 0o644)
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		m.t.Fatal(err)
	}
}

// controlGroup makes the group that becomes the machine's root group, and removes it with all that is in it.
func (m *machine) controlGroup() string {
	m.t.Helper()
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err != nil {
			continue
		}
		group, err := os.MkdirTemp(at, "volsnap-test-")
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() {
			m.until("its control group is empty", func() bool { return removeGroups(group) == nil })
		})
		return group
	}
	m.t.Skip("there is no cgroup2 file system")
	return ""
}

func removeGroups(top string) error {
	var groups []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, group := range slices.Backward(groups) {
		if err := os.Remove(group); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program inside.
func (m *machine) run(argv ...string) (string, error) {
	inside := []string{"--target=" + m.init, "--all", "--root", "--wd", "env", "PATH=/usr/sbin:/usr/bin"}
	out, err := exec.Command("nsenter", append(inside, argv...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (m *machine) must(argv ...string) string {
	m.t.Helper()
	out, err := m.run(argv...)
	if err != nil {
		m.t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return out
}

func (m *machine) until(what string, is func() bool) {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			m.t.Fatalf("waited in vain until %s; log:\n%s", what, m.read("log"))
		case <-tick.C:
		}
	}
}

func (m *machine) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(m.root, name))
	return strings.TrimSpace(string(text))
}

// TestWhoThaws ends a run in the ways in which a run ends under systemd, and looks who came to thaw, and what was left.
func TestWhoThaws(t *testing.T) {
	m := boot(t)
	for _, test := range []struct {
		name    string
		app     string
		end     func(m *machine, service string)
		thawers []string
	}{
		{
			"killed", "ccn", func(m *machine, s string) { m.must("systemctl", "kill", "--kill-whom=main", "--signal=KILL", s) },
			[]string{"dead-man: thawed", "thaw: entry"},
		},
		{
			"stopped", "ccn-eu", func(m *machine, s string) { m.must("systemctl", "stop", s) },
			[]string{"run: SIGTERM", "dead-man: thawed", "thaw: entry"},
		},
		{
			"everything killed", "a", func(m *machine, s string) { m.must("systemctl", "kill", "--kill-whom=all", "--signal=KILL", s) },
			[]string{"thaw: entry"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &machine{t: t, root: m.root, init: m.init}
			service := "volsnap@" + test.app + ".service"
			m.write("log", "", 0o600)
			m.must("systemctl", "start", "--no-block", service)
			m.until("it has paused", func() bool { return strings.Contains(m.read("log"), "run: paused") })
			child := m.read("child")
			test.end(m, service)
			m.until("it is over", func() bool {
				state, _ := m.run("systemctl", "is-active", service)
				return state == "failed" || state == "inactive"
			})
			log := m.read("log")
			for _, want := range test.thawers {
				if !strings.Contains(log, want) {
					t.Errorf("%q is missing in:\n%s", want, log)
				}
			}
			if out, err := m.run("kill", "-0", child); err == nil {
				t.Errorf("a child of the run is left: %s", out)
			}
			if got := m.must("stat", "-c", "%a", "/run/volsnap", "/run/volsnap/journal"); !strings.HasPrefix(got, "700\n") {
				t.Errorf("the run directory: %s", got)
			}
		})
	}
}
