package btrfs_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	st "github.com/volsnap/volsnap/driver/btrfs/internal/streamtest"
	"github.com/volsnap/volsnap/internal/testhost"
)

// TestRandomStreams: whatever commands follow each other, with links out of the replica among them, nothing outside changes, and
// what is received is a replica like any other.
func TestRandomStreams(t *testing.T) {
	top := testhost.Btrfs(t, 512<<20)
	victim, place := subvolume(t, filepath.Join(top, "victim")), mkdir(t, top, "place")
	mkdir(t, victim, "d")
	for _, name := range []string{"f", "d/f", "x"} {
		if err := os.WriteFile(filepath.Join(victim, name), bytes.Repeat([]byte(name), 5000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := state(t, victim)
	rnd := rand.New(rand.NewPCG(1, 2))
	received := 0
	for range 400 {
		r := into(t, place)
		in := st.Stream(hostileUUID, randomCommands(rnd, victim)...)
		got, err := r.Receive(t.Context(), announced(hostileUUID, ""), bytes.NewReader(in))
		if err != nil {
			if left := mustList(t, r); len(left) != 0 {
				t.Fatalf("listed %+v", left)
			}
			continue
		}
		received++
		if err := r.Destroy(t.Context(), got); err != nil {
			t.Fatal(err)
		}
	}
	unchanged(t, before, victim)
	t.Logf("%d of 400 were received", received)
	if received == 0 {
		t.Error("no stream was received")
	}
}

func randomCommands(rnd *rand.Rand, victim string) [][]byte {
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	at := func() string { return pick("f", "d", "d/f", "l", "l/f", "l/d/f", "x", "m", "m/f") }
	link := func() string {
		return pick(victim, victim+"/f", "/", ".", "..", "d", "../../../victim", "/proc/self/cwd", "/proc/self/fd/3", "l", "m")
	}
	out := [][]byte{symlink("l", link()), mkfile("f"), mkdirCmd("d"), mkfile("d/f")}
	for range 1 + rnd.IntN(4) {
		p := at()
		out = append(out, [][]byte{
			write(p, "more"), mkfile(p), mkdirCmd(p), symlink(p, link()), write(p, "owned"), truncate(p), chmod(p, 0o777),
			st.Command(9, path(p), to(at())), st.Command(10, path(p), st.Text(17, at())), st.Command(11, path(p)),
			st.Command(12, path(p)), st.Command(19, path(p), st.U64(6, 1), st.U64(7, 1)), clone(p, hostileUUID, at()),
			st.Command(13, path(p), st.Text(13, "trusted.x"), st.Text(14, "v")), st.Command(20, path(p), st.Time(11, 1), st.Time(10, 1)),
			st.Command(6, path(p)), st.Command(5, path(p), st.U64(5, unix.S_IFCHR), st.U64(8, 0x103)),
		}[rnd.IntN(17)])
	}
	return slices.Clip(out)
}
