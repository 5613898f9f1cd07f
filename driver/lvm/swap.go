package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
)

// Swap implements driver.Stager. LVM renames one volume at a time, so the two change names by way of a third one. How far that came is
// told by which volume has which name; that it was begun, and where the dataset was mounted, by tags that are there before anything
// else is done. The dataset is unmounted meanwhile, and is mounted again at the same places with the same options.
func (k kept) Swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	if err := swap(ctx, ds, stage, guid); err != nil {
		return fmt.Errorf("swap %s and %s: %w", ds, stage, classify(err))
	}
	return nil
}

func swap(ctx context.Context, ds, stage driver.Dataset, guid string) error {
	groups, err := groupsOf([]driver.Dataset{ds, stage})
	if err != nil {
		return err
	}
	if len(groups) > 1 {
		return fmt.Errorf("they are in the volume groups %q: %w", groups, driver.ErrNotSupported)
	}
	unlock, err := lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := volumes(ctx, groups[0])
	if err != nil {
		return err
	}
	_, place, _ := split(ds.Name) // groupsOf has looked
	_, aside, _ := split(stage.Name)
	p, err := pairOf(all, place, aside, guid)
	if err != nil || p.done() {
		return err
	}
	return p.carryOut(ctx, all)
}

// pair is two volumes that are to have two names.
type pair struct {
	place, aside  string // the names
	wanted, other lv     // which are to have them in the end
}

// pairOf finds out which volumes the two are, and how far they came.
func pairOf(all []lv, place, aside, guid string) (pair, error) {
	p := pair{place: place, aside: aside}
	if !isStageName(aside) {
		return p, fmt.Errorf("%q is no stage: %w", aside, driver.ErrForeign)
	}
	in, isIn := named(all, place)
	out, isOut := named(all, aside)
	between, isBetween := named(all, thirdName(aside))
	var two []lv
	switch {
	case !isBetween && (!isIn || !isOut), isBetween && !isIn && !isOut:
		return p, fmt.Errorf("one of them is not there: %w", driver.ErrNotFound)
	case isBetween && isIn && isOut:
		return p, fmt.Errorf("%s is in the way: %w", between, driver.ErrForeign)
	case !isBetween:
		if was := out.aside(); !out.isStage() || was != "" && was != place {
			return p, fmt.Errorf("%s is no stage for it: %w", out, driver.ErrForeign)
		}
		two = []lv{in, out}
	default:
		two = []lv{between, in}
		if isOut {
			two[1] = out
		}
		for _, v := range two {
			if v.tagged(stageNameTag) != aside || v.tagged(placeTag) != place {
				return p, fmt.Errorf("%s is not on its way: %w", v, driver.ErrForeign)
			}
		}
	}
	if two[1].UUID == guid {
		slices.Reverse(two)
	}
	p.wanted, p.other = two[0], two[1]
	return p, p.check(guid)
}

// check finds what keeps two volumes from being swapped.
func (p pair) check(guid string) error {
	switch {
	case p.wanted.UUID != guid:
		return fmt.Errorf("they are %s and %s, not %s: %w", p.wanted.UUID, p.other.UUID, guid, driver.ErrForeign)
	case !p.wanted.writable() || !p.other.writable():
		return fmt.Errorf("one of them is read-only: %w", driver.ErrForeign)
	case !p.wanted.thin() || !p.other.thin() || p.wanted.Pool != p.other.Pool:
		return fmt.Errorf("they are not both volumes of one thin pool: %w", driver.ErrNotSupported)
	}
	return nil
}

// placed reports whether both have their names.
func (p pair) placed() bool { return p.wanted.Name == p.place && p.other.Name == p.aside }

// done reports whether nothing is left to do: what was begun is on one of them.
func (p pair) done() bool {
	begun := p.wanted.tagged(stageNameTag)+p.wanted.tagged(placeTag) != "" || slices.ContainsFunc(p.wanted.tags(), isMountTag)
	return p.placed() && !begun && !slices.ContainsFunc(p.other.tags(), isMountTag)
}

// inPlace is the volume that has the name of the dataset, if any has.
func (p pair) inPlace() (lv, bool) { return named([]lv{p.wanted, p.other}, p.place) }

// carryOut swaps. Once the first mount is gone it goes on to the end, or back.
func (p pair) carryOut(ctx context.Context, all []lv) error {
	mounts, err := p.toMount()
	if err != nil {
		return err
	}
	fault.Point("before a swap is noted")
	if err := p.note(ctx, all, mounts); err != nil {
		return err
	}
	fault.Point("after a swap is noted")
	ctx = context.WithoutCancel(ctx)
	if !p.placed() {
		if err := p.letGo(ctx); err != nil {
			return err
		}
		fault.Point("before swap")
		if err := p.rename(ctx); err != nil {
			return err
		}
	}
	if err := p.finish(ctx, mounts); err != nil {
		return err
	}
	fault.Point("after swap")
	return nil
}

// toMount is where the dataset is mounted, or was when the first swap of the two was begun. ErrBusy: the other one is mounted too.
func (p pair) toMount() ([]mountPoint, error) {
	all, err := recordedMounts(p.wanted.tags())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.wanted, err)
	}
	more, err := recordedMounts(p.other.tags())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.other, err)
	}
	all = together(all, more)
	for _, v := range []lv{p.wanted, p.other} {
		now, err := v.mounts()
		if err != nil {
			return nil, err
		}
		if len(now) > 0 && v.Name != p.place {
			return nil, fmt.Errorf("%s is mounted at %s: unmount it: %w", v, now[0].Point, driver.ErrBusy)
		}
		points, err := pointsOf(now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v, err)
		}
		all = together(all, points)
	}
	return all, nil
}

// note writes down what is about to be done: first on the one that is to go, which is a dataset still, then on the other.
func (p pair) note(ctx context.Context, all []lv, mounts []mountPoint) error {
	begun := []string{stageNameTag + p.aside, placeTag + p.place}
	record, err := mountTags(mounts)
	if err != nil {
		return err
	}
	if err := retag(ctx, p.other, slices.Concat(keep(p.other), begun)); err != nil {
		return err
	}
	tags := slices.Concat(begun, record)
	for _, uuid := range lines(all, p.wanted, p.other) {
		tags = append(tags, lineTag+uuid)
	}
	if p.placed() {
		return retag(ctx, p.wanted, slices.Concat(p.wanted.others(), tags))
	}
	return retag(ctx, p.wanted, slices.Concat(p.other.others(), tags))
}

// keep are the tags of a volume but for those that say where it is and is to be.
func keep(v lv) []string {
	return slices.DeleteFunc(v.tags(), func(tag string) bool {
		return strings.HasPrefix(tag, stageNameTag) || strings.HasPrefix(tag, placeTag)
	})
}

// retag gives a volume just these tags, in one transaction.
func retag(ctx context.Context, v lv, tags []string, more ...string) error {
	have, args := v.tags(), more
	for _, tag := range have {
		if !slices.Contains(tags, tag) {
			args = append(args, "--deltag="+tag)
		}
	}
	for _, tag := range tags {
		if !slices.Contains(have, tag) {
			args = append(args, "--addtag="+tag)
		}
	}
	if len(args) == 0 {
		return nil
	}
	args = append(args, "--select", byUUID(found{lv: v}), v.VG)
	return change(ctx, append([]string{"lvchange", "-y", "--config", quick}, args...)...)
}

// letGo unmounts and deactivates both. If one is in use, all is as it was.
func (p pair) letGo(ctx context.Context) error {
	v, there := p.inPlace()
	var err error
	if there {
		err = unmountAll(v)
	}
	fault.Point("after unmount")
	if err == nil {
		err = change(ctx, "lvchange", "-y", "--config", quick, "--activate", "n", "--select", byUUID(found{lv: p.wanted}, found{lv: p.other}), p.wanted.VG)
		if errors.Is(err, driver.ErrBusy) {
			err = fmt.Errorf("a process uses one of them, perhaps in another mount namespace: see \"lsof\" and \"grep %s /proc/*/mountinfo\": %w",
				deviceName(p.wanted.VG, p.place), err)
		}
	}
	if err == nil || !there {
		return err
	}
	back := p
	if v.UUID == p.other.UUID {
		back.wanted, back.other = p.other, p.wanted
	}
	if !back.placed() {
		return err // the next one goes on
	}
	mounts, backErr := recordedAt(ctx, p)
	if backErr == nil {
		backErr = back.finish(ctx, mounts)
	}
	return errors.Join(err, backErr)
}

// recordedAt is what is noted of the mounts of a pair.
func recordedAt(ctx context.Context, p pair) ([]mountPoint, error) {
	all, err := volumes(ctx, p.wanted.VG)
	if err != nil {
		return nil, err
	}
	var out []mountPoint
	for _, v := range all {
		if v.UUID != p.wanted.UUID && v.UUID != p.other.UUID {
			continue
		}
		some, err := recordedMounts(v.tags())
		if err != nil {
			return nil, err
		}
		out = together(out, some)
	}
	return out, nil
}

// steps are the renames that are left to do, each from one name to another.
func (p pair) steps() [][2]string {
	var all [][2]string
	in, out := p.wanted.Name, p.other.Name
	if out == p.place {
		to := p.aside
		if in == p.aside {
			to = thirdName(p.aside)
		}
		all = append(all, [2]string{out, to})
		out = to
	}
	if in != p.place {
		all = append(all, [2]string{in, p.place})
	}
	if out != p.aside {
		all = append(all, [2]string{out, p.aside})
	}
	return all
}

// rename gives both their names. LVM renames by name only: finish looks at what came of it.
func (p pair) rename(ctx context.Context) error {
	for _, step := range p.steps() {
		if step[1] == p.place {
			if err := p.turn(ctx); err != nil {
				return err
			}
		}
		if err := change(ctx, "lvrename", "--config", quick, p.wanted.VG, step[0], step[1]); err != nil {
			return err
		}
		fault.Point("after a rename")
	}
	return nil
}

// turn lets a boot activate the one that is about to get the name of the dataset, and the other one not any more: in that order, since
// they are two file systems of one UUID.
func (p pair) turn(ctx context.Context) error {
	if err := skip(ctx, p.other, "y"); err != nil {
		return err
	}
	fault.Point("between two flags")
	return skip(ctx, p.wanted, "n")
}

// skip says whether a volume is not to be activated with its group, y or n.
func skip(ctx context.Context, v lv, yes string) error {
	return change(ctx, "lvchange", "-y", "--config", quick, "--setactivationskip", yes, "--select", byUUID(found{lv: v}), v.VG)
}

// finish is what is done when both have their names: the one is active and mounted, the other neither, also after a boot.
func (p pair) finish(ctx context.Context, mounts []mountPoint) error {
	all, err := volumes(ctx, p.wanted.VG)
	if err != nil {
		return err
	}
	in, _ := named(all, p.place)
	out, _ := named(all, p.aside)
	if in.UUID != p.wanted.UUID || out.UUID != p.other.UUID {
		return fmt.Errorf("one of them was replaced meanwhile, they are %s and %s: %w", in.UUID, out.UUID, driver.ErrForeign)
	}
	if err := retag(ctx, out, out.tags(), "--setactivationskip", "y"); err != nil {
		return err
	}
	// Without quick: a copy of the group's metadata is kept below /etc/lvm.
	if err := change(ctx, "lvchange", "-y", "--activate", "y", "--ignoreactivationskip", "--select", byUUID(found{lv: in}), in.VG); err != nil {
		return err
	}
	fault.Point("before mount")
	if err := mountAgain(ctx, found{lv: in}, mounts); err != nil {
		return err
	}
	fault.Point("after mount")
	if err := retag(ctx, in, slices.DeleteFunc(keep(in), isMountTag), "--setactivationskip", "n"); err != nil {
		return err
	}
	return retag(ctx, out, slices.DeleteFunc(out.tags(), isMountTag)) // of one that was begun in the other direction
}
