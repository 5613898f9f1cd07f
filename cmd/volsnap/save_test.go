package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// saved is what some places held: regular files and directories alone.
type saved []savedFile

type savedFile struct {
	path string
	mode fs.FileMode
	data []byte // nil of a directory
}

func save(t *testing.T, places ...string) (all saved) {
	t.Helper()
	for _, place := range places {
		err := filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			f := savedFile{path: path, mode: info.Mode()}
			if !d.IsDir() {
				f.data, err = os.ReadFile(path)
			}
			all = append(all, f)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// restore removes whatever is in the places now, and puts back what was.
func (all saved) restore(t *testing.T) {
	t.Helper()
	for _, f := range all {
		if err := os.RemoveAll(f.path); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range all {
		var err error
		if f.mode.IsDir() {
			err = os.Mkdir(f.path, f.mode.Perm())
		} else {
			err = os.WriteFile(f.path, f.data, f.mode.Perm())
		}
		if err = errors.Join(err, os.Chmod(f.path, f.mode.Perm())); err != nil {
			t.Fatal(err)
		}
	}
}
