package replicate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/replicate"
)

// shows is a Mounter that puts a file where a snapshot is to be mounted.
type shows struct{ fail error }

func (s shows) Mount(_ context.Context, one driver.Snapshot, dir string) (func(context.Context) error, error) {
	file := filepath.Join(dir, one.GUID)
	return func(context.Context) error { return os.Remove(file) }, errors.Join(s.fail, os.WriteFile(file, []byte("x"), 0o600))
}

func TestDigestOf(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mounts")
	d, err := replicate.DigestOf(t.Context(), shows{}, driver.Snapshot{GUID: "g"}, dir)
	if err != nil || d.Files != 2 || d.Bytes != 1 {
		t.Errorf("%+v, %v", d, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
