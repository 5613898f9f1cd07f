//go:build vmtest

package lvm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/drivertest"
	"github.com/volsnap/volsnap/driver/lvm"
)

// replicaStorage sends from a thin pool and receives into places of the same one.
type replicaStorage struct{ *storage }

func (s replicaStorage) Place(t testing.TB) func() driver.Receiver {
	t.Helper()
	o := lvm.Options{Owner: fmt.Sprintf("place %d", counter.Add(1)), Resume: true}
	open := func() driver.Receiver { return into(t, s.vg+"/"+s.pool, o) }
	t.Cleanup(func() {
		terms := []string{`lv_name=~"^volsnap-receiving"`}
		here, err := open().Snapshots(context.Background())
		must(t, err)
		for _, one := range here {
			terms = append(terms, fmt.Sprintf("lv_name=%q", filepath.Base(one.Name)))
		}
		s.remove(t, strings.Join(terms, " || "))
	})
	return open
}

func into(t testing.TB, pool string, o lvm.Options) *lvm.Replicas {
	t.Helper()
	r, err := lvm.Into(pool, o)
	must(t, err)
	return r
}

func TestReplicas(t *testing.T) {
	drivertest.RunReplicas(t, replicaStorage{newPool(t, size{disk: 3072, data: 2048, metadata: 32})})
}

// receiveWhat is where the process that KillReceive kills finds what to do.
const receiveWhat = "VOLSNAP_TEST_RECEIVE"

type receiving struct {
	Pool    string
	Options lvm.Options
	Request driver.ReceiveRequest
	Dies    bool // where the stream ends
}

// KillReceive implements drivertest.Killer.
func (s replicaStorage) KillReceive(
	t testing.TB, open func() driver.Receiver, req driver.ReceiveRequest, stream []byte, n int,
) {
	t.Helper()
	r, ok := open().(*lvm.Replicas)
	if !ok {
		t.Fatal("not our place")
	}
	cmd := receiver(t, receiving{r.Pool(), r.Options(), req, true})
	cmd.Stdin = bytes.NewReader(stream[:n])
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("it was not killed: %v", err)
	}
}

// receiver is a process that receives what it reads.
func receiver(t testing.TB, what receiving) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(what)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiveWhat+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

// TestMain can also be the process that KillReceive and others kill.
func TestMain(m *testing.M) {
	var err error
	if text := os.Getenv(swapWhat); text != "" {
		err = swap(text)
	} else if text := os.Getenv(receiveWhat); text != "" {
		err = receive(text)
	} else {
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func receive(text string) error {
	var what receiving
	if err := json.Unmarshal([]byte(text), &what); err != nil {
		return err
	}
	r, err := lvm.Into(what.Pool, what.Options)
	if err != nil {
		return err
	}
	var in io.Reader = os.Stdin
	if what.Dies {
		in = io.MultiReader(os.Stdin, dying{})
	}
	_, err = r.Receive(context.Background(), what.Request, in)
	return err
}

// dying is a line that is silent, until the process has done what it can with what came before: then it kills itself.
type dying struct{}

func (dying) Read([]byte) (int, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	for idle := 0; idle < 25; idle++ {
		<-tick.C
		if busy() {
			idle = 0
		}
	}
	return 0, unix.Kill(os.Getpid(), unix.SIGKILL)
}

// busy reports whether this process has children.
func busy() bool {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		if text, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(text)) > 0 {
			return true
		}
	}
	return false
}

// stream is a whole stream.
func streamOf(t testing.TB, from driver.Sender, req driver.SendRequest) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, from.Send(t.Context(), req, &out))
	return out.Bytes()
}
