// Package packaging_test checks what is shipped beside the binary.
package packaging_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unit is a systemd unit as text: its settings in order, by "Section.Key".
type unit map[string][]string

func readUnit(t *testing.T, name string) unit {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	u, section := unit{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("%s: %q is no setting", name, line)
		}
		u[section+"."+key] = append(u[section+"."+key], value)
	}
	return u
}

func TestUnitsSayWhatTheyMust(t *testing.T) {
	for _, test := range []struct{ unit, key, want string }{
		{"volsnap@.service", "Service.Type", "oneshot"},
		{"volsnap@.service", "Service.ExecStart", "/usr/bin/volsnap run %i"},
		{"volsnap@.service", "Service.ExecStopPost", "/usr/bin/volsnap thaw"},
		{"volsnap@.service", "Service.KillMode", "control-group"}, // see the comment there, and TestWhoThaws
		{"volsnap@.service", "Service.RuntimeDirectory", "volsnap"},
		{"volsnap@.service", "Service.RuntimeDirectoryPreserve", "yes"}, // or the journal would go with the first service that stops
		{"volsnap@.service", "Service.StateDirectory", "volsnap"},
		{"volsnap-thaw.service", "Service.ExecStart", "/usr/bin/volsnap thaw"},
		{"volsnap-thaw.service", "Service.RuntimeDirectoryPreserve", "yes"},
		{"volsnap-thaw.service", "Install.WantedBy", "multi-user.target"},
		{"volsnap-drill@.service", "Service.Type", "oneshot"},
		{"volsnap-drill@.service", "Service.ExecStart", "/usr/bin/volsnap drill %i"},
		{"volsnap-drill@.service", "Service.RuntimeDirectoryPreserve", "yes"},
		{"volsnap-drill@.service", "Service.StateDirectory", "volsnap"},
		{"volsnap-drill@.timer", "Timer.Persistent", "yes"},
		{"volsnap-drill@.timer", "Timer.OnCalendar", "Sun *-*-* 05:00:00"},
		{"volsnap-drill@.timer", "Install.WantedBy", "timers.target"},
		{"volsnap@.timer", "Timer.Persistent", "yes"},
		{"volsnap@.timer", "Timer.RandomizedDelaySec", "30min"},
		{"volsnap@.timer", "Install.WantedBy", "timers.target"},
	} {
		t.Run(test.unit+" "+test.key, func(t *testing.T) {
			if diff := cmp.Diff([]string{test.want}, readUnit(t, test.unit)[test.key]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnitsShareTheHostsMounts refuses every setting that would give a service a mount namespace of its own, in which it
// would not see file systems as the host does, or keep them busy (systemd.exec(5), "Sandboxing").
func TestUnitsShareTheHostsMounts(t *testing.T) {
	private := []string{
		"ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectKernelTunables",
		"ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ReadWritePaths", "ReadOnlyPaths",
		"InaccessiblePaths", "ExecPaths", "NoExecPaths", "BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem",
		"RootDirectory", "RootImage", "MountFlags", "DynamicUser", "MountAPIVFS", "PrivateUsers", "PrivateIPC",
	}
	for _, name := range []string{"volsnap@.service", "volsnap-drill@.service", "volsnap-thaw.service"} {
		for key := range readUnit(t, name) {
			if slices.Contains(private, strings.TrimPrefix(key, "Service.")) {
				t.Errorf("%s: %s", name, key)
			}
		}
	}
}

// TestVerify has systemd-analyze read the units as they would be installed, with the binary replaced by one that exists.
func TestVerify(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "volsnap")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("systemd/volsnap*")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		replaced := strings.ReplaceAll(string(text), "/usr/bin/volsnap", binary)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(replaced), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"volsnap@.service", "volsnap@.timer", "volsnap-drill@.service", "volsnap-drill@.timer", "volsnap-thaw.service"} {
		t.Run(name, func(t *testing.T) {
			instance := strings.Replace(name, "@.", "@ccn-eu.", 1)
			cmd := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=one", filepath.Join(dir, instance))
			cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_UNIT_PATH="+dir+":")
			out, err := cmd.CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("systemd-analyze verify %s: %v\n%s", instance, err, out)
			}
		})
	}
}
