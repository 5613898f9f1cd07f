package replicatest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/volsnap/volsnap/snapset"
)

// volume is a subvolume at the source, of whose files that many bytes change from set to set.
type volume struct {
	name   string
	change int64
}

var volumes = []volume{{"a", 6 << 20}, {"b", 2 << 20}, {"c", 300 << 10}}

func (p *pair) volume(v volume) string { return filepath.Join(p.source.Top, v.name) }

// set is one that was taken, by the word of others than volsnap.
type set struct {
	id      string
	members map[string]member // by volume
}

type member struct {
	guid   string // by `btrfs subvolume show`
	digest string
}

func noise(r *rand.Rand) *rand.ChaCha8 {
	var key [32]byte
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	return rand.NewChaCha8(key)
}

func (p *pair) makeVolumes(t *testing.T) {
	t.Helper()
	for _, v := range volumes {
		dir := p.volume(v)
		command(t, "btrfs", "subvolume", "create", dir)
		p.fill(t, filepath.Join(dir, "old"), 1<<20)
		if err := os.Symlink("old", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	}
}

// fill writes what cannot be compressed.
func (p *pair) fill(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(f, p.noise, size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// change changes the volumes: always as much, never the same.
func (p *pair) change(t *testing.T) {
	t.Helper()
	for _, v := range volumes {
		dir := p.volume(v)
		p.fill(t, filepath.Join(dir, "data"), v.change)
		n := len(p.taken)
		p.write(t, filepath.Join(dir, fmt.Sprint("new", n)), 0o640, fmt.Sprint("number ", n))
		if err := os.Remove(filepath.Join(dir, fmt.Sprint("new", n-3))); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		p.overwrite(t, filepath.Join(dir, "old"))
	}
}

// overwrite changes a piece in the middle of a file.
func (p *pair) overwrite(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 4096)
	_, _ = p.noise.Read(piece) // never fails
	if _, err := f.WriteAt(piece, 4096*p.chance.Int64N(256)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// take changes the volumes, takes a set, and looks at it by itself.
func (p *pair) take(t *testing.T) {
	t.Helper()
	p.change(t)
	var made snapset.Manifest
	p.must(t, &made, "snapshot", p.app, "--json")
	if !made.Complete || len(made.Members) != len(volumes) {
		t.Fatalf("took %+v", made)
	}
	s := set{id: string(made.ID), members: map[string]member{}}
	digests := digestsOf(t, snapshotsOf(made))
	for _, m := range made.Members {
		s.members[m.Volume] = member{shown(t, m.Snapshot).UUID, digests[m.Snapshot]}
	}
	p.taken = append(p.taken, s)
}

func (p *pair) set(id string) (set, bool) {
	i := slices.IndexFunc(p.taken, func(s set) bool { return s.id == id })
	if i < 0 {
		return set{}, false
	}
	return p.taken[i], true
}

func snapshotsOf(m snapset.Manifest) (paths []string) {
	for _, one := range m.Members {
		paths = append(paths, one.Snapshot)
	}
	return paths
}
