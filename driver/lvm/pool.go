package lvm

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// poolLimit is how full, in percent, data or metadata of a thin pool may be before another set. Every block that is
// written after a snapshot is a new one, and a pool that has none left fails its volumes' writes, of all of them
// (lvmthin(7), "Data space exhaustion" and "Metadata space exhaustion").
const (
	poolLimit  = 95.0
	poolMargin = 15.0 // below the limit, for a warning
)

// LVM makes no snapshot in a pool of which less metadata is free than 4 MiB or, where that is more than a quarter of it, than
// a quarter; nor in one that is fuller than where it is to be extended by itself (LVM 2.03: lib/metadata/thin_manip.c,
// pool_metadata_min_threshold and pool_below_threshold). To find that out during a pause is too late.
const (
	metadataReserve      = 4 << 20
	metadataReserveShare = 25.0
)

// pool is the state of a thin pool, of which the device mapper is asked.
type pool struct {
	size      uint64 // bytes of data
	data      float64
	metaSize  uint64 // bytes of metadata
	metadata  float64
	extendAt  float64 // how full it may be until it is to be extended by itself; 100 is never
	virtual   uint64  // what its volumes could hold, without snapshots
	whenFull  string  // "queue" or "error"
	health    string
	block     uint64 // bytes of its blocks
	zeroes    bool   // new blocks, before they are written to in part
	groupFree uint64 // bytes left in the metadata area of the volume group
	groupSize uint64
}

// readPool asks for the state of one pool.
func readPool(ctx context.Context, vg, name string) (pool, error) {
	p, err := readUse(ctx, vg, name)
	if err != nil {
		return pool{}, err
	}
	if p.extendAt, err = autoextendAt(ctx); err != nil {
		return pool{}, fmt.Errorf("thin pool %s/%s: %w", vg, name, err)
	}
	return p, nil
}

// readUse is readPool without asking when the pool is to be extended: as if never. It costs one process less.
func readUse(ctx context.Context, vg, name string) (pool, error) {
	text, err := ask(ctx, "lvs", "--reportformat", "json", "--units", "b", "--nosuffix",
		"-o", "lv_size,lv_metadata_size,data_percent,metadata_percent,lv_when_full,lv_health_status,vg_mda_free,vg_mda_size,"+
			"chunk_size,zero", vg+"/"+name)
	if err != nil {
		return pool{}, err
	}
	p, err := parsePool(text)
	if err != nil {
		return pool{}, fmt.Errorf("thin pool %s/%s: %w", vg, name, err)
	}
	p.extendAt = 100
	return p, nil
}

// autoextendAt is how full, in percent, a pool has to be for dmeventd to extend it; 100 is never.
func autoextendAt(ctx context.Context) (float64, error) {
	text, err := ask(ctx, "lvmconfig", "--typeconfig", "full", "activation/thin_pool_autoextend_threshold")
	if err != nil {
		return 0, err
	}
	_, value, _ := strings.Cut(strings.TrimSpace(string(text)), "=")
	percent, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("activation/thin_pool_autoextend_threshold: %w", err)
	}
	return float64(percent), nil
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
	p := pool{whenFull: row["lv_when_full"], health: row["lv_health_status"], zeroes: row["zero"] == "zero"}
	p.block, _ = strconv.ParseUint(row["chunk_size"], 10, 64) // 0: nobody knows
	for name, into := range map[string]*uint64{
		"lv_size": &p.size, "lv_metadata_size": &p.metaSize, "vg_mda_free": &p.groupFree, "vg_mda_size": &p.groupSize,
	} {
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

// dataLimit is how full, in percent, its data may be for another set.
func (p pool) dataLimit() float64 { return min(poolLimit, p.extendAt) }

// metadataLimit is the same of its metadata.
func (p pool) metadataLimit() float64 {
	reserve := metadataReserveShare
	if p.metaSize > 0 {
		reserve = min(reserve, metadataReserve/float64(p.metaSize)*100)
	}
	return min(poolLimit, p.extendAt, 100-reserve)
}

// roomy is an error if a snapshot could fill the pool, or if LVM would make none.
func (p pool) roomy() error {
	switch {
	case p.data > p.dataLimit():
		return fmt.Errorf("its data is %.2f %% full, more than %.4g: %w", p.data, p.dataLimit(), driver.ErrNoSpace)
	case p.metadata >= p.metadataLimit():
		return fmt.Errorf("its metadata is %.2f %% full, and %.4g is too much: %w", p.metadata, p.metadataLimit(), driver.ErrNoSpace)
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
