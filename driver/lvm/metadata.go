package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
)

// deltaProgram compares the mappings of two thin volumes; Debian and Red Hat have it in deltaPackage.
const (
	deltaProgram = "thin_delta"
	deltaPackage = "thin-provisioning-tools (Debian) or device-mapper-persistent-data (Red Hat)"
)

// metadataTag is on a pool while a metadata snapshot of it is ours: a pool has one at a time, it survives its maker and even a
// reboot, and does not say whose it is.
const metadataTag = "volsnap-metadata-snapshot"

// mapped compares two volumes of a pool, by their numbers in it. The pool is used meanwhile, so a snapshot of its metadata is
// read (thin-provisioning.rst, reserve_metadata_snap), which is of this moment.
func mapped(ctx context.Context, pool lv, left, right string) (d delta, err error) {
	release, err := awaitClaim(ctx, useOfMetadata(pool))
	if err != nil {
		return delta{}, err
	}
	defer release()
	letGo, err := reserve(ctx, pool)
	if err != nil {
		return delta{}, fmt.Errorf("thin pool %s: %w", pool, err)
	}
	defer func() { err = errors.Join(err, letGo()) }()
	return compare(ctx, pool, left, right)
}

// reserve makes the metadata snapshot of a pool. The claim on it is held, so one that is there and ours is of a killed process.
func reserve(ctx context.Context, pool lv) (letGo func() error, err error) {
	is, err := readStatus(ctx, pool.VG, pool.Name)
	if err == nil && is.held {
		err = releaseLeftOver(ctx, pool)
	}
	if err != nil {
		return nil, err
	}
	if err := markPool(ctx, pool, "--addtag"); err != nil {
		return nil, err
	}
	fault.Point("before a metadata snapshot")
	if err := message(ctx, pool.VG, pool.Name, "reserve_metadata_snap"); err != nil {
		return nil, errors.Join(err, markPool(context.WithoutCancel(ctx), pool, "--deltag"))
	}
	fault.Point("after a metadata snapshot")
	return func() error {
		err := message(ctx, pool.VG, pool.Name, "release_metadata_snap")
		fault.Point("after release of a metadata snapshot")
		if err == nil {
			err = markPool(context.WithoutCancel(ctx), pool, "--deltag")
		}
		return err
	}, nil
}

// releaseLeftOver releases a metadata snapshot if it is ours.
func releaseLeftOver(ctx context.Context, pool lv) error {
	text, err := ask(ctx, "lvs", "--reportformat", "json", "-o", "lv_tags", "--select", "lv_uuid="+pool.UUID, pool.VG)
	if err != nil {
		return err
	}
	rows, err := parseReport[lv](text)
	if err != nil {
		return err
	}
	if len(rows) != 1 || !slices.Contains(rows[0].tags(), metadataTag) {
		return fmt.Errorf("another program has a metadata snapshot of it, and there can be one; if none is running that made it: "+
			"dmsetup message %s 0 release_metadata_snap: %w", poolDevice(pool.VG, pool.Name), driver.ErrBusy)
	}
	return message(ctx, pool.VG, pool.Name, "release_metadata_snap")
}

// markPool puts metadataTag on a pool (--addtag), where it may be already, or takes it off (--deltag).
func markPool(ctx context.Context, pool lv, how string) error {
	return change(ctx, "lvchange", "-y", "--config", quick, how, metadataTag, "--select", "lv_uuid="+pool.UUID, pool.VG)
}

// compare runs thin_delta on the metadata snapshot.
func compare(ctx context.Context, pool lv, left, right string) (delta, error) {
	from, to := io.Pipe()
	var d delta
	var g errgroup.Group
	g.Go(func() (err error) {
		d, err = parseDelta(from, left, right)
		if err == nil {
			_, err = io.Copy(io.Discard, from)
		}
		_ = from.CloseWithError(err)
		return err
	})
	_, err := command.Run(ctx, command.Cmd{
		Argv: []string{
			deltaProgram, "--metadata-snap", "--snap1", left, "--snap2", right, "/dev/mapper/" + deviceName(pool.VG, pool.Name+"_tmeta"),
		},
		Stdout: to,
	})
	_ = to.CloseWithError(err) // nil is the end
	parseErr := g.Wait()
	if errors.Is(err, command.ErrNotFound) {
		return delta{}, fmt.Errorf("install %s: %w", deltaPackage, err)
	}
	if err == nil {
		err = parseErr
	}
	return d, err
}
