package zfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/state"
)

// kernel is a host whose kernel shows these pools with their states.
func kernel(t *testing.T, pools map[string]string) *Driver {
	t.Helper()
	dir := t.TempDir()
	d := New()
	d.host = host{device: filepath.Join(dir, "zfs"), kstat: filepath.Join(dir, "kstat")}
	for pool, state := range pools {
		at := filepath.Join(d.host.kstat, pool)
		err := errors.Join(os.MkdirAll(at, 0o755), os.WriteFile(filepath.Join(at, "state"), []byte(state+"\n"), 0o600),
			os.WriteFile(filepath.Join(d.host.kstat, "arcstats"), nil, 0o600), os.WriteFile(d.host.device, nil, 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestHostWithoutZFS(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, ds := range [][]driver.Dataset{nil, {{Kind: Kind, Name: "tank/a"}}} {
		if got, err := kernel(t, nil).Snapshots(t.Context(), ds...); len(got) != 0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
}

func TestPoolsWithoutTheCommand(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if got, err := kernel(t, map[string]string{"a tank": "ONLINE"}).Snapshots(t.Context()); !errors.Is(err, command.ErrNotFound) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSuspendedPool: no command is run that would hang.
func TestSuspendedPool(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	script := "#!/bin/sh\necho ran > " + bin + "/ran\n"
	if err := os.WriteFile(filepath.Join(bin, "zfs"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	d := kernel(t, map[string]string{"tank": "SUSPENDED", "other": "ONLINE"})
	s := driver.Snapshot{Dataset: driver.Dataset{Kind: Kind, Name: "tank/a"}, Name: "tank/a@" + snapName, Set: setID, GUID: "1"}
	_, listErr := d.Snapshots(t.Context(), s.Dataset)
	_, spaceErr := d.Space(t.Context(), s.Dataset)
	_, mountErr := d.Mount(t.Context(), s, t.TempDir())
	r := &Replicas{kept: d.kept, place: place{"tank/replicas"}}
	r.realm, r.uses = r.place, state.Uses{Dir: filepath.Join(bin, "uses")}
	_, hereErr := r.Snapshots(t.Context())
	_, partErr := r.Partials(t.Context())
	_, inErr := r.Receive(t.Context(), driver.ReceiveRequest{Snapshot: driver.Snapshot{
		Dataset: s.Dataset, Set: setID, Member: 1, Of: 1, GUID: "1",
	}}, strings.NewReader(""))
	_, roomErr := r.Space(t.Context())
	replica := s
	replica.Dataset.Name = childName
	replica.Name = replica.Dataset.Name + "@" + snapName
	d.uses = r.uses
	for what, err := range map[string]error{
		"Send": d.Send(t.Context(), driver.SendRequest{Snapshot: s}, io.Discard), "Snapshots of a place": hereErr, "Partials": partErr,
		"Receive": inErr, "Space of a place": roomErr, "Destroy of a replica": r.Destroy(t.Context(), replica),
		"Seal of a replica": r.Seal(t.Context(), "frozen", replica), "Snapshots": listErr, "Space": spaceErr, "Mount": mountErr, "Destroy": d.Destroy(t.Context(), s), "Unseal": d.Unseal(t.Context(), s),
		"Seal": d.Seal(t.Context(), "frozen", s), "Pin": d.Pin(t.Context(), s, "x"),
	} {
		if !errors.Is(err, errSuspended) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := os.Stat(filepath.Join(bin, "ran")); err == nil {
		t.Error("a command was run")
	}
}

// exit1 is a command that failed.
var exit1 = &command.Error{Exit: 1}
