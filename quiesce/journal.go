package quiesce

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/internal/state"
)

// ErrDamaged says that a journal exists and cannot be read: something may be paused, and volsnap cannot tell what.
var ErrDamaged = errors.New("the freeze journal is damaged")

const (
	journalSuffix  = ".frozen.json"
	journalVersion = 1
	journalLimit   = 4 << 20
)

// fullID is a container's id as Docker makes it; names and shortened ids can come to mean another container.
var fullID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Journal is the file that names what a run of one app may have frozen. It exists from before the first pause until after
// the last thaw; after a crash, what it names is what may still be frozen.
type Journal struct{ path string }

// Record is a journal's content.
type Record struct {
	Version int           `json:"version"`
	App     string        `json:"app"`
	Begun   time.Time     `json:"begun"`
	Limit   time.Duration `json:"limit_ns"`
	Entries []Entry       `json:"entries"`
}

// JournalOf is the journal of app in runDir.
func JournalOf(runDir, app string) Journal {
	return Journal{path: filepath.Join(runDir, app+journalSuffix)}
}

// Journals lists the apps that have a journal in runDir.
func Journals(runDir string) (apps []string, err error) {
	paths, err := filepath.Glob(filepath.Join(escapeGlob(runDir), "*"+journalSuffix))
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		base := filepath.Base(p)
		apps = append(apps, base[:len(base)-len(journalSuffix)])
	}
	return apps, nil
}

func escapeGlob(dir string) string {
	var out []rune
	for _, r := range dir {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// Path is where the journal is.
func (j Journal) Path() string { return j.path }

// Write replaces the journal durably.
func (j Journal) Write(r Record) error {
	r.Version = journalVersion
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode freeze journal: %w", err)
	}
	return state.WriteFile(j.path, data, 0o600)
}

// Read returns nil without an error when there is no journal, and ErrDamaged when it cannot be understood.
func (j Journal) Read() (*Record, error) {
	data, err := state.ReadFile(j.path, journalLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r, err := parseRecord(data)
	if err == nil && r.App+journalSuffix != filepath.Base(j.path) {
		err = fmt.Errorf("it is of the app %q", r.App)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, j.path, err)
	}
	return r, nil
}

// parseRecord takes nothing that Write would not have written: a thaw runs commands and lets containers go on its word.
func parseRecord(data []byte) (*Record, error) {
	r := &Record{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, errors.New("something follows the record")
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Record) check() error {
	if r.Version != journalVersion {
		return fmt.Errorf("version %d is not known", r.Version)
	}
	for i, e := range r.Entries {
		switch {
		case !fullID.MatchString(e.Container):
			return fmt.Errorf("entry %d: %q is no container id", i, e.Container)
		case slices.ContainsFunc(e.Thaw, func(arg string) bool { return strings.ContainsRune(arg, 0) }):
			return fmt.Errorf("entry %d has a zero byte in its command", i)
		case e.Kind == KindExec && len(e.Thaw) == 0:
			return fmt.Errorf("entry %d has no thaw command", i)
		case e.Kind != KindExec && e.Kind != KindPause:
			return fmt.Errorf("entry %d is of unknown kind %q", i, e.Kind)
		case e.Timeout < 0:
			return fmt.Errorf("entry %d has a negative time-out", i)
		}
	}
	return nil
}

// Sweep removes what killed runs left of the journal while they wrote it. The caller holds the app's lock.
func (j Journal) Sweep() error { return state.Sweep(filepath.Dir(j.path), filepath.Base(j.path)) }

// Remove deletes the journal durably; that there is none is no error.
func (j Journal) Remove() error { return state.Remove(j.path) }

// JournalAt is the journal at a path that Path gave.
func JournalAt(path string) (Journal, error) {
	if !filepath.IsAbs(path) || !strings.HasSuffix(path, journalSuffix) {
		return Journal{}, fmt.Errorf("%q is no path of a freeze journal", path)
	}
	return Journal{path: path}, nil
}
