//go:build vmtest

package zfs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/driver/zfs"
)

// replicaStorage sends from one pool, and receives into places of another.
type replicaStorage struct {
	storage
	into string // a file system
	n    *int
}

func (s replicaStorage) Place(t testing.TB) func() driver.Receiver {
	t.Helper()
	*s.n++
	name := newPlace(t, s.into, fmt.Sprint("a place ", *s.n))
	return func() driver.Receiver { return into(t, name) }
}

// newPlace makes a file system for replicas as the documents say.
func newPlace(t testing.TB, in, name string) string {
	t.Helper()
	return create(t, in+"/"+name, "-o", "canmount=off", "-o", "mountpoint=none").Name
}

func into(t testing.TB, place string) *zfs.Replicas {
	t.Helper()
	r, err := zfs.Into(place)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReplicas(t *testing.T) {
	from, top := newPool(t, 1<<30)
	to, _ := newPool(t, 1<<30)
	drivertest.RunReplicas(t, replicaStorage{storage{from, top}, to, new(int)})
}

// Where this binary, started again, finds what to receive, and where.
const (
	receiveInto = "VOLSNAP_TEST_RECEIVE_INTO"
	receiveWhat = "VOLSNAP_TEST_RECEIVE"
)

// KillReceive implements drivertest.Killer.
func (s replicaStorage) KillReceive(t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int) {
	t.Helper()
	r, ok := open().(*zfs.Replicas)
	if !ok {
		t.Fatal("not our place")
	}
	text, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiveInto+"="+r.Name(), receiveWhat+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = in.Write(stream[:n])
	if n > 0 {
		await(t, func() bool { return isReceiving(r.Name()) })
	}
	killed := cmd.Process.Kill()
	_ = cmd.Wait() // "signal: killed"
	await(t, func() bool { return !isReceiving(r.Name()) })
	if err := errors.Join(err, killed); err != nil {
		t.Fatal(err)
	}
}

// isReceiving reports whether a `zfs receive` into a place is under way.
func isReceiving(place string) bool {
	return exec.Command("pgrep", "-f", "^zfs receive -s .* "+place+"/").Run() == nil
}

func await(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func receive(place string) error {
	var req driver.ReceiveRequest
	if err := json.Unmarshal([]byte(os.Getenv(receiveWhat)), &req); err != nil {
		return err
	}
	r, err := zfs.Into(place)
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

// replicate sends and receives, in the formats that the place reads.
func replicate(t testing.TB, from driver.Sender, to driver.Receiver, one driver.Snapshot, base *driver.Snapshot) driver.Snapshot {
	t.Helper()
	stream := send(t, from, driver.SendRequest{Snapshot: one, Base: base, Formats: to.Formats()})
	got, err := to.Receive(t.Context(), announce(one, base), bytes.NewReader(stream))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func announce(one driver.Snapshot, base *driver.Snapshot) driver.ReceiveRequest {
	req := driver.ReceiveRequest{Snapshot: one}
	if base != nil {
		req.Base = base.GUID
	}
	return req
}

func here(t testing.TB, r driver.Receiver) []driver.Snapshot {
	t.Helper()
	got, err := r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// sealedSets are that many snapshots of one dataset, with a change before each.
func sealedSets(t testing.TB, d *zfs.Driver, ds driver.Dataset, at string, n int) (out []driver.Snapshot) {
	t.Helper()
	for i := range n {
		write(t, at, "f", strings.Repeat("x", i+1))
		out = append(out, takeAndSeal(t, d, requestOf(t, i+1, ds))[0])
	}
	return out
}

// counters are properties that change by themselves.
var counters = []string{
	"used", "available", "written", "usedbysnapshots", "usedbychildren", "usedbydataset", "referenced", "logicalused",
	"logicalreferenced", "compressratio", "refcompressratio", "objsetid", "snapshots_changed",
}

// everything is what zfs itself says of a file system and all below it.
func everything(t testing.TB, name string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(do(t, "zfs", "get", "-Hp", "-r", "-t", "all", "-o", "name,property,value,source", "all", name)) {
		if f := strings.Split(line, "\t"); len(f) < 2 || !slices.Contains(counters, f[1]) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
