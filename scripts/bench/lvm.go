package main

import (
	"context"
	"path/filepath"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm"
	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
	"github.com/volsnap/volsnap/snapset"
)

// onLVM is storage by thin volumes.
type onLVM struct{}

// lvmSize is of a store's volumes: the largest whose ext4 has a small journal, which mkfs has to write.
const lvmSize = 120 << 20

func (onLVM) facts() facts {
	return facts{
		class: string(snapset.Frozen), alone: "nothing but `lvcreate -s`, one after another",
		script:    `for s in $SOURCES; do lvcreate --quiet --yes --snapshot --permission r --name "${s##*/}-$TAG" "$s" >/dev/null; done`,
		fiftyRuns: 20, fiftyCounts: []int{3, 10, 50}, fiftyDirty: []bool{false},
		snapshots: 100, volumes: []int{5}, // the metadata area of a volume group holds no thousands
	}
}

func (onLVM) driver() driver.Driver { return lvm.New() }

func (onLVM) maker(p *testhost.Pool) fixture.Storage {
	return fixture.LVM{ThinPool: p.ThinPool(), Size: lvmSize}
}

func (onLVM) dataset(p *testhost.Pool, path string) string { return p.Name + "/" + filepath.Base(path) }

func (onLVM) flush(ctx context.Context, _ *testhost.Pool, paths []string) error {
	return runOnly(ctx, append([]string{"sync", "-f"}, paths...)...)
}

func (o onLVM) bare(datasets []string, to string) (func(context.Context) error, error) {
	return func(ctx context.Context) error {
		for _, ds := range datasets {
			if err := runOnly(ctx, "lvcreate", "--quiet", "--yes", "--snapshot", "--permission", "r", "--name", filepath.Base(o.name(ds, to)), ds); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (onLVM) name(ds, to string) string { return ds + "-" + tag(to) }

func (o onLVM) discard(ctx context.Context, datasets []string, to string) error {
	argv := []string{"lvremove", "--quiet", "--yes"}
	for _, ds := range datasets {
		argv = append(argv, o.name(ds, to))
	}
	return runOnly(ctx, argv...)
}

// settle removes them: each further volume of a group makes all that LVM does to it slower.
func (o onLVM) settle(ctx context.Context, snaps []driver.Snapshot) error {
	return o.driver().Destroy(ctx, snaps...)
}

func (onLVM) lists(p *testhost.Pool) []program {
	return []program{
		{name: "`lvs`", argv: []string{"lvs", p.Name}},
		{name: "`lvs -o lv_name,lv_uuid,origin,lv_tags`", argv: []string{"lvs", "-o", "lv_name,lv_uuid,origin,lv_tags", p.Name}},
	}
}

func (onLVM) rival(context.Context, *store, int) (string, []program, error) { return "", nil, nil }
