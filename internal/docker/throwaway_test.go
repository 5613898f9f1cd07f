package docker_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

// throwaway is one that sleeps, unless it is told what to do.
func throwaway(argv ...string) docker.Throwaway {
	if len(argv) == 0 {
		argv = []string{"busybox", "sleep", "2147483647"}
	}
	return docker.Throwaway{
		Name: "away", Image: testhost.ImageName, Argv: argv, Env: []string{"PATH=/usr/bin", "A=1"}, User: "12:34", Labels: map[string]string{"whose": "mine"},
		Mounts: []docker.ThrowawayMount{{Source: "/usr", Destination: "/usr", ReadOnly: true}, {Destination: "/scratch"}}, Shm: 1 << 20,
	}
}

func TestThrowaway(t *testing.T) {
	h := start(t)
	if _, err := h.Engine.Image(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	asked := throwaway()
	asked.Mounts = append(asked.Mounts, docker.ThrowawayMount{Source: dir, Destination: "/dir"})
	id, err := h.CreateThrowaway(ctx, asked)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.StartThrowaway(ctx, id); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	script := "id -u; id -g; echo $A; ls /sys/class/net; touch /scratch/a /dir/a; touch /usr/a || echo read-only; grep CapBnd /proc/self/status; cat /proc/self/oom_score_adj"
	r, err := h.ExecTo(ctx, id, []string{"busybox", "sh", "-c", script}, docker.ExecOptions{}, &out)
	if err != nil || r.Exit != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := strings.Fields(out.String()); strings.Join(got, " ") != "12 34 1 lo read-only CapBnd: 0000000000000000 1000" {
		t.Errorf("it says %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
	c, err := h.Inspect(ctx, "away")
	if err != nil || c.RestartPolicy != "no" || c.Labels["whose"] != "mine" {
		t.Errorf("%+v, %v", c, err)
	}
	like, err := h.Template(ctx, id)
	if err != nil || strings.Join(like.Argv, " ") != "busybox sleep 2147483647" || like.Shm != 1<<20 {
		t.Errorf("%+v, %v", like, err)
	}

	if err := h.RemoveThrowaway(ctx, "away", "whose", "another's"); !errors.Is(err, docker.ErrForeign) {
		t.Errorf("one of another label: %v", err)
	}
	for range 2 {
		if err := h.RemoveThrowaway(ctx, "away", "whose", "mine"); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.Inspect(ctx, "away"); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestThrowawayEnds(t *testing.T) {
	h := start(t)
	if _, err := h.Engine.Image(); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	id, err := h.CreateThrowaway(ctx, throwaway("busybox", "sh", "-c", "echo out; echo err >&2; exit 7"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.StartThrowaway(ctx, id); err != nil {
		t.Fatal(err)
	}
	if exit, err := h.AwaitEnd(ctx, id); exit != 7 || err != nil {
		t.Errorf("%d, %v", exit, err)
	}
	if out, errs, err := h.Logs(ctx, id); out != "out\n" || errs != "err\n" || err != nil {
		t.Errorf("%q, %q, %v", out, errs, err)
	}
	if err := h.Signal(ctx, id, "SIGINT"); !errors.Is(err, docker.ErrNotRunning) {
		t.Errorf("a signal afterwards: %v", err)
	}
	if err := h.RemoveThrowaway(ctx, "away", "whose", "mine"); err != nil {
		t.Error(err)
	}
	none := throwaway()
	none.Image = "sha256:" + strings.Repeat("0", 64)
	if _, err := h.CreateThrowaway(ctx, none); !errors.Is(err, docker.ErrNotFound) {
		t.Errorf("of an image that there is not: %v", err)
	}
}
