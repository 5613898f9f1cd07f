package driverfake_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/driverfake"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// replicaStorage is the fake as the suite of replicas wants it.
type replicaStorage struct {
	storage
	resume bool
	n      *int
}

func (s replicaStorage) Place(t testing.TB) func() driver.Receiver {
	*s.n++
	p := driverfake.NewPlace(t, fmt.Sprint("p", *s.n))
	p.Unchecked()
	p.SetResume(s.resume)
	return func() driver.Receiver { return p }
}

// Dataset is another one for each run of the suite.
func (s replicaStorage) Dataset(_ testing.TB, name string) driver.Dataset {
	return s.d.AddDataset(fmt.Sprintf("/pool/%t/%s", s.resume, name))
}

func (s replicaStorage) KillReceive(
	t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int,
) {
	t.Helper()
	p, ok := open().(*driverfake.Place)
	if !ok {
		t.Fatal("not our place")
	}
	in := io.MultiReader(bytes.NewReader(stream[:n]), readFunc(func([]byte) (int, error) {
		p.KillAt(0)
		return 0, io.EOF
	}))
	if _, err := p.Receive(t.Context(), req, in); !errors.Is(err, driverfake.ErrKilled) {
		t.Fatalf("Receive: %v, want ErrKilled", err)
	}
	p.Restart()
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestReplicas(t *testing.T) {
	for _, resume := range []bool{false, true} {
		t.Run(fmt.Sprintf("resume=%t", resume), func(t *testing.T) {
			d := driverfake.New(t)
			d.Unchecked()
			drivertest.RunReplicas(t, replicaStorage{storage{d}, resume, new(int)})
		})
	}
}

// TestReplicasOverTheWire holds what a peer has of a place, and of a host's sets, to the same contract.
func TestReplicasOverTheWire(t *testing.T) {
	for _, resume := range []bool{false, true} {
		t.Run(fmt.Sprintf("resume=%t", resume), func(t *testing.T) {
			d := driverfake.New(t)
			d.Unchecked()
			drivertest.RunReplicas(t, transporttest.Storage(t, replicaStorage{storage{d}, resume, new(int)}, "suite"))
		})
	}
}

func TestPlaceIsScripted(t *testing.T) {
	d, p := driverfake.New(t), driverfake.NewPlace(t, "backup")
	ds := d.AddDataset("/srv/pg")
	d.Write(ds, "f", "1")
	one := newSet(t, d, 1, ds)[0]
	stream := func() io.Reader {
		var out bytes.Buffer
		if err := d.Send(t.Context(), driver.SendRequest{Snapshot: one}, &out); err != nil {
			t.Fatal(err)
		}
		return &out
	}
	req := driver.ReceiveRequest{Snapshot: one}
	p.Fault("Receive", 1, driver.ErrNoSpace)
	if _, err := p.Receive(t.Context(), req, stream()); !errors.Is(err, driver.ErrNoSpace) {
		t.Errorf("Receive: %v, want ErrNoSpace", err)
	}
	p.KillAt(1)
	if _, err := p.Receive(t.Context(), req, stream()); !errors.Is(err, driverfake.ErrKilled) {
		t.Errorf("Receive: %v, want ErrKilled", err)
	}
	p.Restart()
	got, err := p.Snapshots(t.Context())
	if err != nil || len(got) != 1 || p.Files(got[0])["f"] != "1" { // killed right after it was here
		t.Fatalf("%+v, %v", got, err)
	}
	d.Fault("Send", 1, driver.ErrNotFound)
	if err := d.Send(t.Context(), driver.SendRequest{Snapshot: one}, io.Discard); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("Send: %v, want ErrNotFound", err)
	}
	if err := p.Seal(t.Context(), "frozen", got...); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range p.Effects() {
		names = append(names, e.What)
	}
	if strings.Join(names, " ") != "seal" {
		t.Errorf("effects %v", names)
	}
}

func FuzzStream(f *testing.F) {
	d := driverfake.New(f)
	ds := d.AddDataset("/srv/pg")
	d.Write(ds, "f", "1")
	snap := driver.Snapshot{Dataset: ds, Set: "ccn-20260101T000000.000Z", Member: 1, Of: 1, GUID: "0-1"}
	f.Add([]byte("volsnap-fake 1 0-1 -\n+ \"f\" 1\n1\nend 00\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		p := driverfake.NewPlace(t, "x")
		if got, err := p.Receive(t.Context(), driver.ReceiveRequest{Snapshot: snap}, bytes.NewReader(stream)); err == nil {
			t.Logf("received %+v", got)
		} else if !errors.Is(err, driver.ErrBadStream) {
			t.Error(err)
		}
	})
}
