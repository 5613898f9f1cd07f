package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
)

// fingerprint describes all that a command could have changed: what is in the directories, with types, modes and content, and
// the subvolumes of the file system. Lock files do not count, nor that their directory exists: they hold nothing.
func fingerprint(mnt string, dirs ...string) (string, error) {
	var b strings.Builder
	if mnt != "" {
		list, err := subvolumes(mnt)
		if err != nil {
			return "", err
		}
		b.WriteString(list)
		dirs = append(dirs, mnt)
	}
	files, err := listing(dirs...)
	return b.String() + files, err
}

// subvolumes are all of a file system, with their UUIDs.
func subvolumes(mnt string) (string, error) {
	var b strings.Builder
	out, err := exec.Command("btrfs", "subvolume", "list", "-u", mnt).Output()
	if err != nil {
		return "", fmt.Errorf("list subvolumes of %s: %w", mnt, err)
	}
	for line := range strings.Lines(string(out)) {
		b.WriteString(withoutGeneration(line))
	}
	return b.String(), nil
}

// listing is all that is in directories.
func listing(dirs ...string) (string, error) {
	var b strings.Builder
	for _, dir := range dirs {
		if err := describe(&b, dir); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// withoutGeneration cuts the counter that grows by looking, too, out of "ID 256 gen 9 top level 5 uuid ... path x".
func withoutGeneration(line string) string {
	before, after, _ := strings.Cut(line, " gen ")
	_, after, _ = strings.Cut(after, " ")
	return before + " " + after
}

func describe(b *strings.Builder, dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == dir || strings.HasSuffix(path, ".lock") && d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(data))[:16]
		case d.Type()&fs.ModeSymlink != 0:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(b, "%s %q %s\n", info.Mode(), path, what)
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// takeSet makes a complete set of subvolumes as of that time, by the driver alone.
func takeSet(app string, when time.Time, dirs ...string) (driver.SetID, error) {
	ctx := context.Background()
	id, err := driver.NewSetID(app, when)
	if err != nil {
		return "", err
	}
	d := btrfs.New()
	req := driver.Request{Set: id, Of: len(dirs)}
	for i, dir := range dirs {
		place, err := d.Resolve(ctx, dir)
		if err != nil {
			return "", err
		}
		req.Items = append(req.Items, driver.Item{
			Dataset: place.Dataset, Member: i + 1, Volumes: []driver.Volume{{Name: dir, Path: place.Path}},
		})
	}
	g, err := d.Prepare(ctx, req)
	if err != nil {
		return "", err
	}
	snaps, err := driver.Take(ctx, g)
	if err := errors.Join(err, g.Close(ctx)); err != nil {
		return "", err
	}
	return id, d.Seal(ctx, "crash", snaps...)
}
