package lvm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/internal/command"
)

// status is what the kernel says of an active thin pool. To ask for it makes the pool commit, and costs one process.
type status struct {
	transaction         uint64 // how far the kernel is; LVM has its own count
	metaUsed, metaTotal uint64 // in blocks of metadata
	dataUsed, dataTotal uint64 // in blocks of the pool
	held                bool   // there is a metadata snapshot
	mode                string // "rw" if all is well
}

func readStatus(ctx context.Context, vg, pool string) (status, error) {
	device := poolDevice(vg, pool)
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"dmsetup", "status", "--target", "thin-pool", device}})
	if err != nil {
		return status{}, fmt.Errorf("thin pool %s/%s: its state is unknown: is it active? See \"lvchange -ay\": %w", vg, pool, err)
	}
	s, err := parseStatus(string(out.Stdout))
	if err != nil {
		return status{}, fmt.Errorf("dmsetup status %s: %w", device, err)
	}
	return s, nil
}

// parseStatus reads "START LENGTH thin-pool TRANSACTION METADATA/TOTAL DATA/TOTAL HELD MODE ..." (Documentation/admin-guide/
// device-mapper/thin-provisioning.rst).
func parseStatus(text string) (status, error) {
	f := strings.Fields(text)
	if len(f) < 8 || f[2] != "thin-pool" {
		return status{}, fmt.Errorf("%q is no state of a thin pool at work", text)
	}
	s := status{held: f[6] != "-", mode: f[7]}
	var err error
	if s.transaction, err = strconv.ParseUint(f[3], 10, 64); err != nil {
		return status{}, err
	}
	if s.metaUsed, s.metaTotal, err = share(f[4]); err != nil {
		return status{}, err
	}
	s.dataUsed, s.dataTotal, err = share(f[5])
	return s, err
}

// share reads "3/10".
func share(s string) (used, total uint64, err error) {
	a, b, _ := strings.Cut(s, "/")
	if used, err = strconv.ParseUint(a, 10, 64); err == nil {
		total, err = strconv.ParseUint(b, 10, 64)
	}
	if err == nil && (total == 0 || used > total) {
		err = fmt.Errorf("%q is no share", s)
	}
	return used, total, err
}

// mappedEnd is where what its pool has of an active thin volume ends, in bytes. Behind that it reads as zeros.
func mappedEnd(ctx context.Context, v lv) (int64, error) {
	device := deviceName(v.VG, v.Name)
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"dmsetup", "status", "--target", "thin", device}})
	if err != nil {
		return 0, err
	}
	end, err := parseMappedEnd(string(out.Stdout))
	if err != nil {
		return 0, fmt.Errorf("dmsetup status %s: %w", device, err)
	}
	return end, nil
}

// parseMappedEnd reads "START LENGTH thin MAPPED HIGHEST", in sectors; HIGHEST is the last one, or "-" where there is none (as above).
func parseMappedEnd(text string) (int64, error) {
	f := strings.Fields(text)
	if len(f) != 5 || f[2] != "thin" {
		return 0, fmt.Errorf("%q is no state of a thin volume at work", text)
	}
	if f[4] == "-" {
		return 0, nil
	}
	last, err := strconv.ParseInt(f[4], 10, 54)
	if err != nil || last < 0 {
		return 0, fmt.Errorf("%q is no state of a thin volume", text)
	}
	return (last + 1) * sector, nil
}

const sector = 512 // of the device mapper

// poolDevice is the device that is a pool for the kernel: the one that has its name is on top of it, unless there was no volume in it
// when it was activated.
func poolDevice(vg, pool string) string {
	beneath := deviceName(vg, pool) + "-tpool"
	if _, err := os.Stat("/dev/mapper/" + beneath); err != nil {
		return deviceName(vg, pool)
	}
	return beneath
}

// message sends a message to a pool. It is not ended by ctx.
func message(ctx context.Context, vg, pool, text string) error {
	_, err := command.Run(context.WithoutCancel(ctx), command.Cmd{Argv: []string{"dmsetup", "message", poolDevice(vg, pool), "0", text}})
	return err
}
