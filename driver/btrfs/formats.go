package btrfs

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// FormatCompressed is version 2 of the stream, in which extents are as compressed as they are on disk. The oldest format is
// version 1.
const FormatCompressed = "btrfs-2-compressed"

// streamVersion is a file in which the kernel says up to which version it sends. One that sends version 2 also writes
// compressed extents (Linux 6.0).
const streamVersion = "/sys/fs/btrfs/features/send_stream_version"

func kernelHasVersion2() bool {
	text, err := os.ReadFile(streamVersion)
	n, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	return err == nil && bad == nil && n >= 2
}

// canSendCompressed reports whether the receiver, the kernel and the installed btrfs-progs (6.0) can have FormatCompressed.
func canSendCompressed(ctx context.Context, formats []string) (bool, error) {
	if !slices.Contains(formats, FormatCompressed) || !kernelHasVersion2() {
		return false, nil
	}
	out, err := command.Run(ctx, command.Cmd{Argv: []string{"btrfs", "send", "--help"}})
	return strings.Contains(string(out.Stdout)+out.Stderr, "--compressed-data"), err
}

// Formats implements driver.Receiver. Compressed extents cannot be written where the file system is mounted to have no
// checksums.
func (r *Replicas) Formats() []string {
	if !kernelHasVersion2() {
		return nil
	}
	all, err := mountinfo.Read()
	if err != nil {
		return nil
	}
	m, _, err := mountinfo.Containing(all, r.dir)
	if err != nil || slices.Contains(m.Options, "nodatasum") || slices.Contains(m.Options, "nodatacow") {
		return nil
	}
	return []string{FormatCompressed}
}
