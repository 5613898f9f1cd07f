package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/lvm/internal/stream"
	"github.com/volsnap/volsnap/internal/fault"
)

// arrival is one replica on its way. Its dataset is claimed, so that there is one at a time of it.
type arrival struct {
	*Replicas
	rec   replica
	in    inPlace // as it was when it was claimed
	base  *found  // held; nil if the stream holds all
	kept  *lv     // what it goes on with; nil if it begins anew
	at    stream.Position
	letGo []func()

	vol  lv // that is being filled, once it is made
	f    *os.File
	size int64 // of vol's device
	room room
	note string // the tag that says what is on disk, if there is one
}

// arrive checks an announcement, claims the dataset of the replica, and holds the base. It reads nothing of the stream. The
// caller must close it.
func (r *Replicas) arrive(ctx context.Context, req driver.ReceiveRequest) (*arrival, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if req.Resume != "" && !r.options.Resume {
		return nil, fmt.Errorf("nothing is kept of broken transfers here: %w", driver.ErrStale)
	}
	rec, err := r.announced(req)
	if err != nil {
		return nil, err
	}
	a := &arrival{Replicas: r, rec: rec}
	if err := a.claim(ctx, req.Resume); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *arrival) claim(ctx context.Context, resume string) error {
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ok, release, err := claimOne(useOfArrival(a.key(a.rec.Source))) // under the lock: whoever just looks is in nobody's way
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("another stream of its dataset is arriving: %w", driver.ErrBusy)
	}
	a.letGo = append(a.letGo, release)
	if a.in, err = a.view(ctx); err != nil {
		return err
	}
	if err := a.free(); err != nil {
		return err
	}
	if err := a.findBase(); err != nil {
		return err
	}
	if err := a.goOn(resume); err != nil {
		return err
	}
	return a.tidy(ctx)
}

// free finds the replica's GUID and name free, and for a stream that builds on nothing its dataset.
func (a *arrival) free() error {
	var newest *driver.Snapshot
	for _, s := range a.in.replicas() {
		if s.GUID == a.rec.GUID {
			return fmt.Errorf("%s: %w", s.Name, driver.ErrExists)
		}
		if s.Dataset == a.dataset(a.rec) {
			newest = &s
		}
	}
	if v, there := a.in.byName(a.replicaName(a.rec)); there {
		return fmt.Errorf("%s: %w", v, driver.ErrExists)
	}
	if a.rec.Base != "" || newest == nil {
		return nil
	}
	return fmt.Errorf("the newest here is %s (%s), and %s (%s) arrives with no base: %w",
		newest.Name, newest.GUID, a.rec.Set, a.rec.GUID, driver.ErrDiverged)
}

// findBase finds and holds the base, which may lie in another dataset of the place: the source may have got another name.
func (a *arrival) findBase() error {
	if a.rec.Base == "" {
		return nil
	}
	have := a.in.replicas()
	at := slices.IndexFunc(have, func(s driver.Snapshot) bool { return s.GUID == a.rec.Base })
	if at < 0 {
		return fmt.Errorf("base %s: %w", a.rec.Base, driver.ErrNotFound)
	}
	f, err := a.in.found(have[at])
	if err != nil {
		return fmt.Errorf("base %s is not as it was received: %w: %s", have[at].Name, driver.ErrNotFound, err.Error())
	}
	release, err := hold(f)
	if err != nil {
		return fmt.Errorf("base %s: %w", f, err)
	}
	a.base, a.letGo = &f, append(a.letGo, release)
	return nil
}

// goOn finds what is kept of the transfer that resume is the token of.
func (a *arrival) goOn(resume string) error {
	if resume == "" {
		return nil
	}
	want, err := stream.ParsePosition(resume)
	if err != nil {
		return fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	v, _ := a.in.byName(a.stagingName(a.rec))
	have, ours := a.belongs(v)
	at, noted := progressOf(v)
	rec := a.rec
	rec.Size = have.Size
	tags, err := rec.tags()
	if err != nil || !ours || !noted || at != want || !v.carries(tags) {
		return fmt.Errorf("nothing is kept that token %s could mean: %w", resume, driver.ErrStale)
	}
	a.rec, a.kept, a.at, a.note = rec, &v, at, progressTag+resume
	return nil
}

// carries reports whether a volume has all of the tags.
func (v lv) carries(tags []string) bool {
	have := v.tags()
	return !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(have, tag) })
}

// progressOf is what of a stream is on disk, as a volume that is being received says.
func progressOf(v lv) (at stream.Position, ok bool) {
	for _, tag := range v.tags() {
		text, is := strings.CutPrefix(tag, progressTag)
		if !is {
			continue
		}
		p, err := stream.ParsePosition(text)
		if ok || err != nil {
			return stream.Position{}, false
		}
		at, ok = p, true
	}
	return at, ok
}

// tidy removes what broken transfers left in the place, but for what this one goes on with, what is being received at this
// moment, and what other datasets can go on with. The driver's lock is held.
func (a *arrival) tidy(ctx context.Context) error {
	var left []found
	for _, v := range a.in.all {
		rec, ok := a.belongs(v)
		if !ok || v.Name != a.stagingName(rec) || a.kept != nil && v.UUID == a.kept.UUID {
			continue
		}
		inTheWay := rec.Source == a.rec.Source
		if !inTheWay {
			var err error
			if inTheWay, err = a.isLeftOver(v, rec); err != nil {
				return err
			}
		}
		if inTheWay {
			left = append(left, found{lv: v})
		}
	}
	if len(left) == 0 {
		return nil
	}
	if err := settleIfNeeded(ctx, a.in.pool); err != nil {
		return err
	}
	return removeStaging(ctx, left...)
}

// isLeftOver reports whether nobody fills a volume of another dataset, nor can go on with it. Nobody begins to while the driver's
// lock is held.
func (a *arrival) isLeftOver(v lv, rec replica) (bool, error) {
	if _, noted := progressOf(v); noted && a.options.Resume {
		return false, nil
	}
	ok, release, err := claimOne(useOfArrival(a.key(rec.Source)))
	if ok {
		release()
	}
	return ok, err
}

// removeStaging removes volumes that were being received. That they are gone is no error.
func removeStaging(ctx context.Context, these ...found) error {
	fault.Point("before removal of what was being received")
	defer fault.Point("after removal of what was being received")
	if err := removeVolumes(ctx, these[0].VG, these...); err != nil {
		return fmt.Errorf("remove what was being received, %s: %w", listed(these), err)
	}
	return nil
}

// settleIfNeeded is settle for a pool that was listed a moment ago.
func settleIfNeeded(ctx context.Context, pool lv) error {
	is, err := readStatus(ctx, pool.VG, pool.Name)
	if err != nil || pool.inStep(is) {
		return err
	}
	_, err = settle(ctx, pool.VG, pool.Name)
	return err
}

// close lets go of everything.
func (a *arrival) close() {
	for _, release := range slices.Backward(a.letGo) {
		release()
	}
	a.letGo = nil
}

// finishFile closes the device once all that was written is on disk.
func (a *arrival) finishFile() error {
	err := errors.Join(a.f.Sync(), a.f.Close())
	a.f = nil
	return err
}
