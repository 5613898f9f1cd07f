package driver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/volsnap/volsnap/driver"
)

func TestPace(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name  string
		of    int
		ends  int // the batch in which the context ends, if any
		want  []int
		rests int
	}{
		{"none", 0, -1, nil, 0},
		{"one batch has no rest", 3, -1, []int{3}, 0},
		{"the last is smaller", 7, -1, []int{3, 3, 1}, 2},
		{"ended", 7, 1, []int{3, 3}, 1},
		{"ended in the last", 7, 2, []int{3, 3, 1}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, end := context.WithCancel(t.Context())
				defer end()
				all := make([]driver.Snapshot, tc.of)
				for i := range all {
					all[i].Order = uint64(i)
				}
				var sizes []int
				next := uint64(0)
				begin := time.Now()
				err := driver.Pace{Batch: 3, Rest: time.Second}.Destroy(ctx, all, func(_ context.Context, s []driver.Snapshot) error {
					if s[0].Order != next {
						t.Errorf("batch %d begins with %d, want %d", len(sizes), s[0].Order, next)
					}
					next += uint64(len(s))
					sizes = append(sizes, len(s))
					if len(sizes) == tc.ends+1 {
						end()
					}
					if len(sizes) == 1 {
						return broken
					}
					return nil
				})
				if diff := cmp.Diff(tc.want, sizes); diff != "" {
					t.Error(diff)
				}
				if rested := time.Since(begin); rested != time.Duration(tc.rests)*time.Second {
					t.Errorf("it rested for %s, want %d s", rested, tc.rests)
				}
				if errors.Is(err, broken) != (tc.of > 0) || errors.Is(err, context.Canceled) != (int(next) < tc.of) || err == nil != (tc.of == 0) {
					t.Errorf("error: %v", err)
				}
			})
		})
	}
}
