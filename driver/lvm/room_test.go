package lvm

import (
	"context"
	"errors"
	"testing"

	"github.com/volsnap/volsnap/driver"
)

func TestParseStatus(t *testing.T) {
	const good = "0 2097152 thin-pool 5 120/4096 35/16384 - rw discard_passdown queue_if_no_space - 1024\n"
	got, err := parseStatus(good)
	if want := (status{transaction: 5, metaUsed: 120, metaTotal: 4096, dataUsed: 35, dataTotal: 16384, mode: "rw"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	held, err := parseStatus("0 1 thin-pool 5 120/4096 35/16384 77 out_of_data_space no_discard_passdown error_if_no_space needs_check 1024")
	if err != nil || !held.held || held.mode != "out_of_data_space" {
		t.Errorf("%+v, %v", held, err)
	}
	for _, bad := range []string{
		"", "0 1 thin-pool Fail", "0 1 thin 5 120/4096 35/16384 - rw", "0 1 thin-pool x 120/4096 35/16384 - rw",
		"0 1 thin-pool 5 120 35/16384 - rw", "0 1 thin-pool 5 120/4096 35/0 - rw", "0 1 thin-pool 5 5/4 35/36 - rw",
	} {
		if s, err := parseStatus(bad); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}

func TestRoom(t *testing.T) {
	p := pool{block: 64 << 10, extendAt: 100, metaSize: 1 << 30}
	for name, c := range map[string]struct {
		is   status
		left int64
		full bool
	}{
		"empty":                            {status{metaTotal: 100, dataTotal: 16384, mode: "rw"}, roomStep, false},
		"nearly full":                      {status{metaTotal: 100, dataUsed: 15560, dataTotal: 16384, mode: "rw"}, 4 * 64 << 10, false},
		"full":                             {status{metaTotal: 100, dataUsed: 15564, dataTotal: 16384, mode: "rw"}, 0, true},
		"metadata full":                    {status{metaUsed: 95, metaTotal: 100, dataTotal: 16384, mode: "rw"}, 0, true},
		"out of space":                     {status{metaTotal: 100, dataTotal: 16384, mode: "out_of_data_space"}, 0, true},
		"read-only, as a pool that failed": {status{metaTotal: 100, dataTotal: 16384, mode: "ro"}, 0, true},
	} {
		left, err := c.is.left(p)
		if left != c.left || errors.Is(err, driver.ErrNoSpace) != c.full {
			t.Errorf("%s: %d, %v", name, left, err)
		}
	}
	p.block = 1 << 30
	if left, err := (status{metaTotal: 100, dataTotal: 100, mode: "rw"}).left(p); err != nil || left != 1<<30 {
		t.Errorf("blocks that are larger than a step: %d, %v", left, err)
	}
}

// What is counted are blocks, each once for writes that follow each other.
func TestRoomCountsBlocks(t *testing.T) {
	m := room{pool: pool{block: 64 << 10}, left: 3 * 64 << 10}
	never := func() error { t.Error("looked"); return nil }
	for _, at := range []int64{0, 4096, 61440, 65536, 131072 - 4096, 131072} {
		if err := m.take(context.Background(), at, at+4096, never); err != nil {
			t.Fatal(err)
		}
	}
	if m.left != 0 {
		t.Errorf("%d bytes are left", m.left)
	}
	flushed := errors.New("flushed")
	if err := m.take(context.Background(), 196608, 196609, func() error { return flushed }); !errors.Is(err, flushed) {
		t.Errorf("one more: %v", err)
	}
	m.left = 64 << 10
	if err := m.take(context.Background(), 0, 4096, never); err != nil || m.left != 0 { // from the beginning again
		t.Errorf("%d bytes are left, %v", m.left, err)
	}
}

func TestParseMappedEnd(t *testing.T) {
	for text, want := range map[string]int64{"0 40960 thin 256 2175\n": 2176 * 512, "0 40960 thin 0 -": 0} {
		if got, err := parseMappedEnd(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "0 1 thin Fail", "0 1 thin 5 x", "0 1 thin 5 -1", "0 1 thin-pool 5 6", "0 1 thin 1 36028797018963968"} {
		if got, err := parseMappedEnd(bad); err == nil {
			t.Errorf("%q: %d", bad, got)
		}
	}
}
