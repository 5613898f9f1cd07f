package snapset

import (
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
)

// BenchmarkAssemble makes 10,000 sets of a listing.
func BenchmarkAssemble(b *testing.B) {
	var snaps []driver.Snapshot
	for i := range 10000 {
		id, err := driver.NewSetID("ccn", time.Unix(int64(i*7919%10000), 0))
		if err != nil {
			b.Fatal(err)
		}
		snaps = append(snaps, driver.Snapshot{
			Set: id, Member: 1, Of: 1, GUID: string(id), Sealed: true, Volumes: []driver.Volume{{Name: "pg", Path: "."}},
		})
	}
	for b.Loop() {
		if got := Assemble(snaps, nil); len(got) != len(snaps) {
			b.Fatal(len(got))
		}
	}
}
