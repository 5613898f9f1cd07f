package zfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// A dataset of ours beside another one: a stage, or what a stage has replaced. Its name has one of these prefixes.
const (
	sideProp    = "volsnap:side"
	stagePrefix = "volsnap-stage-" // and its name, and a hash of the dataset that it is a stage of
	thirdPrefix = "volsnap-third-" // instead of stagePrefix, while two are swapped
	linePrefix  = "volsnap-line-"  // and a hash: it is there for its snapshots alone, and goes with the last of them
	sideVersion = "1"
)

var sidePattern = regexp.MustCompile(`^(volsnap-(stage|third)-[a-zA-Z0-9][a-zA-Z0-9.-]{0,59}-[0-9a-f]{8}|volsnap-line-[0-9a-f]{8})$`)

// split parts the last part of a dataset's name from the others. That of a pool's own file system has none.
func split(dataset string) (parent, base string) {
	i := strings.LastIndexByte(dataset, '/')
	if i < 0 {
		return dataset, ""
	}
	return dataset[:i], dataset[i+1:]
}

// short tells names apart.
func short(of ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return fmt.Sprintf("%x", sum[:4])
}

// stageOf is the name of a stage of a dataset.
func stageOf(dataset, name string) string {
	parent, _ := split(dataset)
	return parent + "/" + stagePrefix + name + "-" + short(dataset)
}

// thirdOf is the name that one of two has while they are swapped.
func thirdOf(stage string) string {
	parent, base := split(stage)
	return parent + "/" + thirdPrefix + strings.TrimPrefix(base, stagePrefix)
}

// lineOf is the name of a dataset that was replaced, and is there for its snapshots alone.
func lineOf(dataset, guid string) string {
	parent, _ := split(dataset)
	return parent + "/" + linePrefix + short(dataset, guid)
}

// sideMark is the value of volsnap:side on a dataset of that name, beside another one. Neither names what both lie in, which may be
// renamed.
func sideMark(side, of string) string {
	_, base := split(of)
	return sideVersion + "/" + path.Base(side) + "/" + base
}

// sideOf is the dataset that another one is at the side of, by its name and the property. A child of that inherits the property, and
// has another name.
func sideOf(name, mark string) (of string, is bool) {
	parent, base := split(name)
	parts := strings.Split(mark, "/")
	if len(parts) != 3 || parts[0] != sideVersion || !sidePattern.MatchString(base) {
		return "", false
	}
	if rest, third := strings.CutPrefix(base, thirdPrefix); third {
		base = stagePrefix + rest
	}
	if of = parent; parts[2] != "" {
		of += "/" + parts[2]
	}
	line := strings.HasPrefix(base, linePrefix) // which was a stage, and marked as such
	return of, (parts[1] == base || line && sidePattern.MatchString(parts[1])) && checkName(of) == nil
}

// couldBeBeside reports whether one dataset may be at the side of another, by their names.
func couldBeBeside(side, of string) bool {
	parent, base := split(side)
	home, _ := split(of)
	return parent == home && sidePattern.MatchString(base)
}

// liesIn is the file system that a snapshot lies in: its dataset, or one at the side of that.
func liesIn(s driver.Snapshot) string {
	at, _, _ := strings.Cut(s.Name, "@")
	return at
}

// home is the dataset whose history lies in another.
func (t *table) home(dataset string) string {
	if home, is := t.homes[dataset]; is {
		return home
	}
	return dataset
}

// isOf reports whether a snapshot lies where that dataset was, of which the GUID is given: in it, or in one that has been in its place.
func (t *table) isOf(guid string, r row) bool {
	if t.guids[r.dataset] == guid {
		return true
	}
	home := t.home(r.dataset)
	if t.guids[home] == guid {
		return true
	}
	for side, of := range t.homes {
		if of == home && t.guids[side] == guid {
			return true
		}
	}
	return false
}

// deepest is how many clones of clones are followed.
const deepest = 100

// lines are what a snapshot came out of; nil if that is the dataset as it is now alone.
func (t *table) lines(r row) []driver.Line {
	home := t.home(r.dataset)
	at, last := r.dataset, r.txg
	var out []driver.Line
	for range deepest {
		id := ""
		if at != home {
			_, id = split(at)
		}
		out = append(out, driver.Line{ID: id, Order: last})
		origin := t.origins[at]
		txg, known := t.txgs[origin]
		at, _, _ = strings.Cut(origin, "@")
		if !known || t.home(at) != home {
			break
		}
		last = txg
	}
	if len(out) == 1 && out[0].ID == "" {
		return nil
	}
	return out
}

// besides finds the datasets at the side of these, by one command.
func besides(ctx context.Context, datasets []string) ([]row, error) {
	var parents []string
	for _, ds := range datasets {
		if parent, _ := split(ds); !slices.Contains(parents, parent) {
			parents = append(parents, parent)
		}
	}
	var out []row
	add := func(f []string) error {
		if len(f) != 4 || !validGUID(f[1]) || checkName(f[0]) != nil {
			return fmt.Errorf("zfs list: what is %q?", f)
		}
		home, is := sideOf(f[0], f[3])
		if is && slices.Contains(datasets, home) {
			out = append(out, row{name: f[0], dataset: f[0], guid: f[1], origin: value(f[2]), side: f[3]})
		}
		return nil
	}
	err := chunks(parents, listNames, func(some []string) error {
		return list(ctx, true, add, append([]string{"zfs", "list", "-Hp", "-d", "1", "-t", "filesystem", "-o", "name,guid,origin," + sideProp}, some...)...)
	})
	return out, err
}

// strays are the datasets, in the places of which lie snapshots that were made of another one: it may be at their side by now.
func (t *table) strays() []string {
	var homes []string
	for _, r := range t.rows {
		if rec, err := t.parse(r.record); err == nil && t.moved(r) && rec.Set.SnapshotName() == r.snap && !slices.Contains(homes, t.home(r.dataset)) {
			homes = append(homes, t.home(r.dataset))
		}
	}
	return homes
}
