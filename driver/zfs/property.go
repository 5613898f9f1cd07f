package zfs

import (
	"fmt"
	"slices"
	"strings"
)

// local is the source of a property that was set on the dataset or snapshot itself, zfsprops(7). One that came with a stream is
// "received", the others are "inherited from ..." or "-".
const local = "local"

// property is what `zfs get` says of one.
type property struct{ value, source string }

// properties are those of one dataset or snapshot, by name.
type properties map[string]property

// facts are the properties of datasets and snapshots, by name.
type facts map[string]properties

// asked are the properties that a place is known by.
var asked = []string{"type", "guid", "createtxg", "userrefs", "clones", "defer_destroy", "origin", "receive_resume_token", replicaProp, replicaSeal}

// argv is the command whose lines add takes. Depth "0" is what is named alone.
func (facts) argv(depth string, names ...string) []string {
	argv := []string{"zfs", "get", "-Hp", "-d", depth, "-t", "filesystem,volume,snapshot", "-o", "name,property,value,source"}
	return append(append(argv, strings.Join(asked, ",")), names...)
}

// add takes a line. A value may have tabs or line breaks in it, if others have set it: then the line has too many columns, or
// is forged, and the real one comes too.
func (all facts) add(f []string) error {
	if len(f) != 4 || !slices.Contains(asked, f[1]) {
		return fmt.Errorf("zfs get: what is %q?", f)
	}
	name, prop := f[0], f[1]
	if all[name] == nil {
		all[name] = properties{}
	}
	if _, twice := all[name][prop]; twice {
		return fmt.Errorf("zfs get: %s of %q is listed twice; does a user property of it, or beside it, have a line break?", prop, name)
	}
	all[name][prop] = property{f[2], f[3]}
	return nil
}

// complete is an error if not all that was asked for was said.
func (p properties) complete(name string) error {
	if len(p) != len(asked) {
		return fmt.Errorf("zfs get: %q has %d of %d properties", name, len(p), len(asked))
	}
	return nil
}
