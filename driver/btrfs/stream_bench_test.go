package btrfs_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/internal/testhost"
)

// BenchmarkStream compares a stream between two file systems with the raw pipe of "btrfs send" and "btrfs receive", for one large
// file and for many small ones. Both end with what they received on disk.
func BenchmarkStream(b *testing.B) {
	for _, shape := range []struct {
		name        string
		files, size int
	}{{"large", 1, 512 << 20}, {"small", 10_000, 2 << 10}} {
		from, to := testhost.Btrfs(b, 4<<30), testhost.Btrfs(b, 16<<30)
		ds, d := dataset(b, from, "d"), btrfs.New()
		noise := make([]byte, shape.size)
		for i := range shape.files {
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(noise)
			dir := filepath.Join(ds.Name, fmt.Sprint("dir", i%50))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				b.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), noise, 0o600); err != nil {
				b.Fatal(err)
			}
		}
		one := takeAndSeal(b, d, requestOf(b, 1, ds))[0]
		n := 0
		for _, way := range []struct {
			name string
			do   func(b *testing.B, dir string)
		}{
			{"raw", func(b *testing.B, dir string) { raw(b, one.Name, dir, to) }},
			{"volsnap", func(b *testing.B, dir string) { piped(b, d, into(b, dir), one) }},
		} {
			b.Run(shape.name+"/"+way.name, func(b *testing.B) {
				b.SetBytes(int64(shape.files) * int64(shape.size))
				for b.Loop() {
					n++
					way.do(b, mkdir(b, to, fmt.Sprint("place", n)))
				}
			})
		}
	}
}

func raw(b *testing.B, snapshot, dir, top string) {
	b.Helper()
	pipe := exec.Command("sh", "-c", `btrfs send -q "$1" | btrfs receive -q "$2" && sync -f "$3"`, "sh", snapshot, dir, top)
	if out, err := pipe.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}

func piped(b *testing.B, from driver.Sender, to driver.Receiver, one driver.Snapshot) {
	b.Helper()
	r, w := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		return w.CloseWithError(from.Send(b.Context(), driver.SendRequest{Snapshot: one, Formats: nil}, w))
	})
	_, err := to.Receive(b.Context(), driver.ReceiveRequest{Snapshot: one}, r)
	if err != nil {
		b.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
