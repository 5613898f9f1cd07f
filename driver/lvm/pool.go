package lvm

import (
	"context"
	"fmt"
	"strconv"

	"github.com/volsnap/volsnap/driver"
)

// poolLimit is how full, in percent, data or metadata of a thin pool may be before another set. Every block that is
// written after a snapshot is a new one, and a pool that has none left fails its volumes' writes, of all of them
// (lvmthin(7), "Data space exhaustion" and "Metadata space exhaustion").
const (
	poolLimit   = 95.0
	poolWarning = 80.0
)

// pool is the state of a thin pool, of which the device mapper is asked.
type pool struct {
	size      uint64 // bytes of data
	data      float64
	metadata  float64
	virtual   uint64 // what its volumes could hold, without snapshots
	whenFull  string // "queue" or "error"
	health    string
	groupFree uint64 // bytes left in the metadata area of the volume group
	groupSize uint64
}

// readPool asks for the state of one pool.
func readPool(ctx context.Context, vg, name string) (pool, error) {
	text, err := ask(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_size,data_percent,metadata_percent,lv_when_full,lv_health_status,vg_mda_free,vg_mda_size", vg+"/"+name)
	if err != nil {
		return pool{}, err
	}
	p, err := parsePool(text)
	if err != nil {
		return pool{}, fmt.Errorf("thin pool %s/%s: %w", vg, name, err)
	}
	return p, nil
}

func parsePool(text []byte) (pool, error) {
	all, err := parseReport[map[string]string](text)
	if err != nil {
		return pool{}, err
	}
	if len(all) != 1 {
		return pool{}, fmt.Errorf("%d pools are reported, not 1", len(all))
	}
	row := all[0]
	p := pool{whenFull: row["lv_when_full"], health: row["lv_health_status"]}
	for name, into := range map[string]*uint64{"lv_size": &p.size, "vg_mda_free": &p.groupFree, "vg_mda_size": &p.groupSize} {
		if *into, err = strconv.ParseUint(row[name], 10, 64); err != nil {
			return pool{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, into := range map[string]*float64{"data_percent": &p.data, "metadata_percent": &p.metadata} {
		if row[name] == "" {
			return pool{}, fmt.Errorf("its state is unknown (health %q): is it active? See \"lvchange -ay\"", p.health)
		}
		if *into, err = strconv.ParseFloat(row[name], 64); err != nil || !(*into >= 0 && *into <= 100) {
			return pool{}, fmt.Errorf("%s %q is no share", name, row[name])
		}
	}
	return p, nil
}

// roomy is an error if a snapshot could fill the pool.
func (p pool) roomy() error {
	switch {
	case p.data > poolLimit:
		return fmt.Errorf("its data is %.2f %% full, more than %g: %w", p.data, poolLimit, driver.ErrNoSpace)
	case p.metadata > poolLimit:
		return fmt.Errorf("its metadata is %.2f %% full, more than %g: %w", p.metadata, poolLimit, driver.ErrNoSpace)
	case p.health != "":
		return fmt.Errorf("its health is %q: %w", p.health, driver.ErrNoSpace)
	}
	return nil
}

// space is what the pool has left of data or, if there is less of it, of metadata, as a share of the data.
func (p pool) space() driver.Space {
	left := 1 - max(p.data, p.metadata)/100
	return driver.Space{FreeBytes: uint64(left * float64(p.size)), TotalBytes: p.size}
}

// Space implements driver.Taker. A pool that runs out of metadata is as full as one that runs out of data: what is told is
// the scarcer of the two, as a share of the pool's size.
func (d *Driver) Space(ctx context.Context, ds driver.Dataset) (driver.Space, error) {
	p, err := poolOf(ctx, ds)
	if err != nil {
		return driver.Space{}, fmt.Errorf("space of %s: %w", ds, err)
	}
	return p.space(), nil
}

func poolOf(ctx context.Context, ds driver.Dataset) (pool, error) {
	groups, err := groupsOf([]driver.Dataset{ds})
	if err != nil {
		return pool{}, err
	}
	all, err := volumes(ctx, groups...)
	if err != nil {
		return pool{}, err
	}
	for _, v := range all {
		if v.String() != ds.Name {
			continue
		}
		if !v.thin() {
			return pool{}, fmt.Errorf("it is a %s volume: %w", v.Segment, driver.ErrNotSupported)
		}
		return readPool(ctx, v.VG, v.Pool)
	}
	return pool{}, driver.ErrNotFound
}
