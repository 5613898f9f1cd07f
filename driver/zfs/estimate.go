package zfs

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// Estimate is about how many bytes Send would write, by `zfs send -nP`.
func (k *kept) Estimate(ctx context.Context, req driver.SendRequest) (int64, error) {
	n, err := k.estimate(ctx, req)
	if err != nil {
		return 0, fmt.Errorf("estimate the stream of %s: %w", req.Snapshot.Name, err)
	}
	return n, nil
}

func (k *kept) estimate(ctx context.Context, req driver.SendRequest) (int64, error) {
	if err := k.check(ctx, req.Snapshot); err != nil {
		return 0, err
	}
	encrypted, err := isEncrypted(ctx, liesIn(req.Snapshot))
	if err != nil {
		return 0, err
	}
	argv, err := sendCommand(req, encrypted)
	if err != nil {
		return 0, err
	}
	out, err := run(ctx, slices.Insert(argv, 2, "-nP")...) // behind "zfs send"
	if err != nil {
		return 0, err
	}
	return parseEstimate(out)
}

// parseEstimate reads what -P prints: among lines on each snapshot, one with "size" and the sum.
func parseEstimate(out string) (int64, error) {
	for line := range strings.Lines(out) {
		if size, is := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "size\t"); is {
			return strconv.ParseInt(size, 10, 64)
		}
	}
	return 0, fmt.Errorf("zfs send -nP: no size in %.200q", out)
}
