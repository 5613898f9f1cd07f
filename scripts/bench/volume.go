package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

const (
	fileMebibytes = 16 // of each file
	changedPart   = 4  // of each file a quarter is written anew
)

// volume is what a dataset holds: files of noise, of some MiB together, and a quarter as much of a log's text.
type volume struct{ mebibytes int }

func (v volume) size() int    { return v.files() * fileMebibytes << 20 }
func (v volume) changed() int { return v.size() / changedPart }

func (v volume) noise() int { return max(1, v.mebibytes/fileMebibytes) }
func (v volume) files() int { return v.noise() + max(1, v.noise()/4) }

// write writes the files, or, later, the first part of each again.
func (v volume) write(dir string, generation int) error {
	for i := range v.files() {
		if err := writeFile(filepath.Join(dir, fmt.Sprintf("data%04d", i)), i, generation, i < v.noise()); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, i, generation int, noise bool) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	n := fileMebibytes
	if generation > 0 {
		n /= changedPart
	}
	random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(generation)})
	buf := make([]byte, 1<<20)
	for k := range n {
		if noise {
			_, _ = random.Read(buf) // never fails
		} else {
			logText(buf, n*i+k, generation)
		}
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// logText fills buf with lines that have much in common.
func logText(buf []byte, i, generation int) {
	text := buf[:0]
	for line := 0; len(text) < len(buf); line++ {
		text = fmt.Appendf(text, "2026-11-21T02:%02d:%02d.%03dZ INFO [%d] message %08d of peer QmYyQSo%x stored in %d ms\n",
			line/60000%60, line/1000%60, line%1000, generation, i*10000+line, uint32(line)*2654435761, line%37)
		if cap(text)-len(text) < 256 {
			break
		}
	}
	copy(buf[len(text):], text)
}
