package btrfs

import (
	"fmt"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/mountinfo"
)

// wants are the datasets that were asked for; nil is all of them.
type wants struct {
	places map[place]driver.Dataset // those that are there now
	names  map[string]driver.Dataset
}

func wanted(ms mounts, ds []driver.Dataset) (*wants, error) {
	if len(ds) == 0 {
		return nil, nil
	}
	w := &wants{places: map[place]driver.Dataset{}, names: map[string]driver.Dataset{}}
	for _, one := range ds {
		if one.Kind != Kind {
			return nil, fmt.Errorf("%s: %w", one, driver.ErrNotSupported)
		}
		w.names[one.Name] = one
		if m, inside, err := mountinfo.Containing(ms.all, one.Name); err == nil {
			w.places[place{m.Dev, inside}] = one
		}
	}
	return w, nil
}

// as is the dataset as the caller knows it, if it was asked for.
func (w *wants) as(dev, inside, name string) (driver.Dataset, bool) {
	if w == nil {
		return driver.Dataset{Kind: Kind, Name: name}, true
	}
	if ds, ok := w.places[place{dev, inside}]; ok {
		return ds, true
	}
	ds, ok := w.names[name]
	return ds, ok
}

// skips reports whether a directory can hold nothing that was asked for.
func (w *wants) skips(key string) bool {
	if w == nil || len(w.places) < len(w.names) {
		return false
	}
	for at := range w.places {
		if keyOf(at.inside) == key {
			return false
		}
	}
	return true
}
