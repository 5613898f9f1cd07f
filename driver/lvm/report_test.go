package lvm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
)

func TestParseReport(t *testing.T) {
	const text = `{"report":[{"lv":[{"vg_name":"t-g1","lv_name":"s1","lv_tags":"a,b","transaction_id":"3","vg_partial":""}]}]}`
	got, err := parseReport[lv]([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]lv{{VG: "t-g1", Name: "s1", Tags: "a,b", Order: "3"}}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "{", `{"report":[]}`, `{"report":[{"lv":[]},{"lv":[]}]}`, `{"report":[{"lv":[{"lv_name":3}]}]}`, text + text} {
		if _, err := parseReport[lv]([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestPartialGroupIsAnError(t *testing.T) {
	if err := whole([]lv{{VG: "a", Segment: "thin", Partial: "partial"}}); !errors.Is(err, errPartial) {
		t.Errorf("thin: %v", err)
	}
	if err := whole([]lv{{VG: "a", Segment: "linear", Partial: "partial"}, {VG: "b", Segment: "thin"}}); err != nil {
		t.Errorf("a group without thin volumes: %v", err)
	}
}

func poolReport(data, metadata string) string {
	return `{"report":[{"lv":[{"lv_size":"1000","lv_metadata_size":"1073741824","vg_mda_free":"516608","vg_mda_size":"1044480","lv_when_full":"queue",` +
		`"lv_health_status":"","data_percent":"` + data + `","metadata_percent":"` + metadata + `"}]}]}`
}

func TestPool(t *testing.T) {
	for name, c := range map[string]struct {
		data, metadata string
		free           uint64
		roomy          bool
	}{
		"empty": {"0.00", "10.00", 900, true}, "metadata is scarcer": {"50.00", "75.00", 250, true}, "limit": {"95.00", "1.00", 50, true},
		"data": {"95.01", "1.00", 49, false}, "metadata": {"1.00", "96.00", 40, false}, "full": {"100.00", "1.00", 0, false},
	} {
		p, err := parsePool([]byte(poolReport(c.data, c.metadata)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := p.space(); got.TotalBytes != 1000 || got.FreeBytes > c.free || got.FreeBytes+1 < c.free {
			t.Errorf("%s: %+v, want %d free", name, got, c.free)
		}
		p.extendAt = 100
		if err := p.roomy(); (err == nil) != c.roomy || err != nil && !errors.Is(err, driver.ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		levels := map[driver.Level]bool{}
		for _, f := range p.findings("vg/pool") {
			levels[f.Level] = true
		}
		if levels[driver.Error] == c.roomy {
			t.Errorf("%s: %v", name, p.findings("vg/pool"))
		}
	}
	for _, bad := range []string{poolReport("", ""), poolReport("NaN", "1"), poolReport("1", "-1"), poolReport("1", "101"), "{}"} {
		if p, err := parsePool([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", bad, p)
		}
	}
}

// TestPoolLimits has the limits at which LVM itself makes no snapshot any more.
func TestPoolLimits(t *testing.T) {
	for _, c := range []struct {
		metaSize       uint64
		extendAt       float64
		data, metadata float64
	}{
		{2 << 20, 100, 95, 75},
		{16 << 20, 100, 95, 75},
		{32 << 20, 100, 95, 87.5},
		{1 << 30, 100, 95, 95},
		{1 << 30, 70, 70, 70},
		{2 << 20, 80, 80, 75},
		{0, 100, 95, 75},
	} {
		p := pool{metaSize: c.metaSize, extendAt: c.extendAt}
		if data, metadata := p.dataLimit(), p.metadataLimit(); data != c.data || metadata != c.metadata {
			t.Errorf("%d bytes of metadata, extended at %g: %g and %g, want %g and %g", c.metaSize, c.extendAt, data, metadata, c.data, c.metadata)
		}
		for _, one := range []struct {
			pool  pool
			roomy bool
		}{
			{pool{metaSize: c.metaSize, extendAt: c.extendAt, data: c.data, metadata: c.metadata - 0.01}, true},
			{pool{metaSize: c.metaSize, extendAt: c.extendAt, data: c.data + 0.01}, false},
			{pool{metaSize: c.metaSize, extendAt: c.extendAt, metadata: c.metadata}, false},
		} {
			if err := one.pool.roomy(); (err == nil) != one.roomy {
				t.Errorf("%+v: %v", one.pool, err)
			}
		}
	}
}

func TestGroupThatDoesNotFit(t *testing.T) {
	g := &group{vg: "vg", pool: "pool", members: []*member{{tags: []string{strings.Repeat("x", 900)}}}}
	if err := g.fits(pool{size: 1, extendAt: 100, groupFree: 1000}); !errors.Is(err, driver.ErrNoSpace) {
		t.Error(err)
	}
	if err := g.fits(pool{size: 1, extendAt: 100, groupFree: 10000}); err != nil {
		t.Error(err)
	}
}

func TestClassify(t *testing.T) {
	for said, want := range map[string]error{
		"  Logical Volume \"y1\" already exists in volume group \"t-g1\"":                       driver.ErrExists,
		"  Failed to find logical volume \"t-g1/nosuch\"":                                       driver.ErrNotFound,
		"  Volume group \"nosuch\" not found\n  Cannot process":                                 driver.ErrNotFound,
		"  Logical volume t-g1/v-1 contains a filesystem in use.":                               driver.ErrBusy,
		"  Logical volume t-g1/v-1 in use.":                                                     driver.ErrBusy,
		"  Cannot create new thin volume, free space in thin pool t-g1/pool reached threshold.": driver.ErrNoSpace,
		"  VG t metadata on /dev/x (9 bytes) too large for circular buffer (8 bytes)":           driver.ErrNoSpace,
	} {
		if err := classify(&command.Error{Argv: []string{"lvm"}, Exit: 5, Stderr: said}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", said, err, want)
		}
	}
	if complaint("  WARNING: Sum of all\n\n  WARNING: x\n") != nil {
		t.Error("a warning is a complaint")
	}
	if err := complaint("  WARNING: x\n  Logical Volume \"y\" already exists in volume group \"g\"\n"); !errors.Is(err, driver.ErrExists) {
		t.Error(err)
	}
}

func TestScriptWaitsForEachLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := newScript([]string{"one", "two", "three"})
	r, w := io.Pipe()
	var g errgroup.Group
	g.Go(func() error { return s.feed(ctx, w) })
	in := bufio.NewScanner(r)
	read := func(want string) {
		t.Helper()
		if !in.Scan() || in.Text() != want {
			t.Errorf("%q, want %q", in.Text(), want)
		}
	}
	read("one")
	read(mark)
	for _, said := range []string{"  Logical volume created.\n  lv", "m2\n"} {
		if _, err := s.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
	}
	read("two")
	read(mark)
	cancel()
	if in.Scan() {
		t.Errorf("after the end of the context %q", in.Text())
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestElsewhere(t *testing.T) {
	ext4 := make([]byte, superblocks)
	copy(ext4[1024+0x38:], []byte{0x53, 0xef})
	outside := bytes.Clone(ext4)
	outside[1024+0xe4] = 7
	xfs := make([]byte, superblocks)
	copy(xfs, "XFSB")
	noLog := bytes.Clone(xfs)
	xfs[55] = 1
	realTime := bytes.Clone(xfs)
	realTime[23] = 1
	for want, head := range map[string][][]byte{
		"": {ext4, xfs, make([]byte, superblocks), nil}, "its journal": {outside}, "its log": {noLog}, "its real-time section": {realTime},
	} {
		for _, h := range head {
			if got := elsewhere(h); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "/", ".", "a", "a/", "/a", "a/b/c", "-a/b", "a/-b", "a/..", "../a", "a/b\n", "a/b c", "a/b@x"} {
		if vg, lv, err := split(bad); err == nil {
			t.Errorf("%q is %q in %q", bad, lv, vg)
		}
	}
	if got := deviceName("t-g1", "a-b.c"); got != "t--g1-a--b.c" {
		t.Error(got)
	}
	if got := dashed(plain(own)); got != own {
		t.Error(got)
	}
}
