package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The names of formats are those of the features that the receiver's pool needs for them, after "zfs-" (zpool-features(7)). The
// oldest format needs none.
const (
	FormatEncrypted   = "zfs-encryption"    // as it is on disk, see Send
	FormatLargeBlocks = "zfs-large_blocks"  // blocks of more than 128 KiB in one piece
	FormatEmbedded    = "zfs-embedded_data" // blocks of some bytes in their parents
	FormatLZ4         = "zfs-lz4_compress"  // blocks compressed as they are on disk, if it has FormatZstd too
	FormatZstd        = "zfs-zstd_compress"
)

// sendOptions are those of zfs-send(8) for what the receiver can read. What is embedded may be compressed by anything.
func sendOptions(formats []string) (options []string) {
	has := func(all ...string) bool {
		return !slices.ContainsFunc(all, func(f string) bool { return !slices.Contains(formats, f) })
	}
	if has(FormatLargeBlocks) {
		options = append(options, "-L")
	}
	if has(FormatLZ4, FormatZstd) {
		options = append(options, "-c")
	}
	if has(FormatLZ4, FormatZstd, FormatEmbedded) {
		options = append(options, "-e")
	}
	return options
}

// formatsTime is how long the pool may take to say what it can. Without an answer it is the oldest format.
const formatsTime = 10 * time.Second

// Formats implements driver.Receiver. The pool is asked once.
func (r *Replicas) Formats() []string {
	r.formats.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), formatsTime) //nolint:forbidigo // the contract has no context here
		defer cancel()
		if r.host.awake(r.place.name) == nil {
			r.can, _ = formatsOf(ctx, r.place.name)
		}
	})
	return slices.Clone(r.can)
}

// formatsOf are those that a place can read. In one that is encrypted itself nothing can be embedded, zfs-receive(8).
func formatsOf(ctx context.Context, place string) (out []string, err error) {
	const feature = "feature@"
	var names []string
	for _, format := range []string{FormatEncrypted, FormatLargeBlocks, FormatEmbedded, FormatLZ4, FormatZstd} {
		names = append(names, feature+strings.TrimPrefix(format, "zfs-"))
	}
	encrypted, err := isEncrypted(ctx, place)
	if err != nil {
		return nil, err
	}
	err = list(ctx, false, func(f []string) error {
		if len(f) != 2 || !slices.Contains(names, f[0]) {
			return fmt.Errorf("zpool get: what is %q?", f)
		}
		format := "zfs-" + strings.TrimPrefix(f[0], feature)
		if (f[1] == "enabled" || f[1] == "active") && !(encrypted && format == FormatEmbedded) {
			out = append(out, format)
		}
		return nil
	}, "zpool", "get", "-Hp", "-o", "property,value", strings.Join(names, ","), poolOf(place))
	return out, err
}
