package docker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/volsnap/volsnap/internal/docker"
	"github.com/volsnap/volsnap/internal/testhost"
)

// A container whose process ends again and again is told not to be started any more, at whatever moment that comes, and stays stopped.
func TestSetRestartOfOneThatKeepsEnding(t *testing.T) {
	h := start(t)
	id := h.Run(t, "ends", testhost.RunOptions{Flags: []string{"--restart", "always"}, Command: []string{"sh", "-c", "exit 1"}})
	ctx := within(t, 2*time.Minute)
	for range 20 {
		if err := h.SetRestart(ctx, id, docker.RestartPolicy{Name: "always"}); err != nil {
			t.Fatal(err)
		}
		if err := h.Client.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
		if err := h.SetRestart(ctx, id, docker.RestartPolicy{Name: "no"}); err != nil {
			t.Fatal(err)
		}
		if err := h.Client.Stop(ctx, id, 1); err != nil {
			t.Fatal(err)
		}
		if c, err := h.Inspect(ctx, id); err != nil || c.Running || c.RestartPolicy != "no" {
			t.Fatalf("%+v, %v", c, err)
		}
	}
}

// What stays refused is said, after a while.
func TestSetRestartIsRefused(t *testing.T) {
	c := answers(t, 500, `{"message":"Cannot update container 1: cannot update a deleted process: unknown"}`)
	if err := c.SetRestart(within(t, time.Minute), "1", docker.RestartPolicy{Name: "no"}); !errors.Is(err, docker.ErrCannotUpdate) {
		t.Error(err)
	}
}

func TestImage(t *testing.T) {
	h := start(t)
	name, err := h.Engine.Image()
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	byName, err := h.Client.Image(ctx, name)
	if err != nil || len(byName.ID) != len("sha256:")+64 || len(byName.Digests) > 0 {
		t.Fatalf("%+v, %v", byName, err)
	}
	if byID, err := h.Client.Image(ctx, byName.ID); err != nil || byID.ID != byName.ID {
		t.Errorf("%+v, %v", byID, err)
	}
	for _, none := range []string{"none:such", "sha256:" + "00000000000000000000000000000000" + "00000000000000000000000000000000"} {
		if _, err := h.Client.Image(ctx, none); !errors.Is(err, docker.ErrNotFound) {
			t.Errorf("%s: %v", none, err)
		}
	}
}
