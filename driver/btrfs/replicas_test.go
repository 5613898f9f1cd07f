package btrfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/transport/transporttest"
)

// replicaStorage sends from a Btrfs and receives into new directories of the same one, or of another.
type replicaStorage struct {
	storage
	into string
	n    *int
	o    btrfs.Options
}

// Dataset is another one for each run of the suite.
func (s replicaStorage) Dataset(t testing.TB, name string) driver.Dataset {
	return s.storage.Dataset(t, filepath.Join(filepath.Base(s.into), name))
}

func (s replicaStorage) Place(t testing.TB) func() driver.Receiver {
	t.Helper()
	*s.n++
	dir := mkdir(t, s.into, fmt.Sprint("a place ", *s.n))
	return func() driver.Receiver { return open(t, dir, s.o) }
}

func into(t testing.TB, dir string) *btrfs.Replicas {
	t.Helper()
	return open(t, dir, btrfs.Options{})
}

func open(t testing.TB, dir string, o btrfs.Options) *btrfs.Replicas {
	t.Helper()
	r, err := btrfs.Into(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplicas(t *testing.T) {
	from := testhost.Btrfs(t, 1<<30)
	for _, tc := range []struct {
		name, into string
		o          btrfs.Options
	}{
		{"another file system", testhost.Btrfs(t, 1<<30), btrfs.Options{}},
		{"the same one", mkdir(t, from, "replicas"), btrfs.Options{Resume: true}},
		{"in a subvolume", subvolume(t, filepath.Join(from, "for replicas")), btrfs.Options{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			drivertest.RunReplicas(t, replicaStorage{storage{from}, tc.into, new(int), tc.o})
		})
	}
}

// TestReplicasOverTheWire holds what a peer has of a place, and of a host's sets, to the same contract.
func TestReplicasOverTheWire(t *testing.T) {
	top := testhost.Btrfs(t, 1<<30)
	st := replicaStorage{storage{top}, mkdir(t, top, "replicas"), new(int), btrfs.Options{Resume: true}}
	drivertest.RunReplicas(t, transporttest.Storage(t, st, "suite"))
}

// Where TestReceiver finds what to do, and what it has to read.
const (
	receiveInto = "VOLSNAP_TEST_RECEIVE_INTO"
	receiveWhat = "VOLSNAP_TEST_RECEIVE"
	receiveKeep = "VOLSNAP_TEST_RECEIVE_RESUME"
)

// KillReceive implements drivertest.Killer.
func (s replicaStorage) KillReceive(
	t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int,
) {
	t.Helper()
	r, ok := open().(*btrfs.Replicas)
	if !ok {
		t.Fatal("not our place")
	}
	cmd := receiver(t, r, req, s.o)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = in.Write(stream[:n])
	time.Sleep(200 * time.Millisecond) // so that it does with them what it can
	killed := cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed"
	if err := errors.Join(err, killed); err != nil {
		t.Fatal(err)
	}
}

// receiver is a process that receives what it reads.
func receiver(t testing.TB, into *btrfs.Replicas, req driver.ReceiveRequest, o btrfs.Options) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiveInto+"="+into.Dir(), receiveWhat+"="+string(text), fmt.Sprintf("%s=%t", receiveKeep, o.Resume))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestMain can also be the process that KillReceive and others kill.
func TestMain(m *testing.M) {
	dir := os.Getenv(receiveInto)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := receive(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func receive(dir string) error {
	var req driver.ReceiveRequest
	if err := json.Unmarshal([]byte(os.Getenv(receiveWhat)), &req); err != nil {
		return err
	}
	r, err := btrfs.Into(dir, btrfs.Options{Resume: os.Getenv(receiveKeep) == "true"})
	if err == nil {
		_, err = r.Receive(context.Background(), req, os.Stdin)
	}
	return err
}

// send is a whole stream.
func send(t testing.TB, from driver.Sender, req driver.SendRequest) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := from.Send(t.Context(), req, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
