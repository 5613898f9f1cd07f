package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

// ErrDiffers says that a replica is not what its source is.
var ErrDiffers = errors.New("the replica differs")

// Verify compares a set of this host with its replica at a target: whether that is whole, and of the same states (GUIDs), and with
// content also what each member holds, read as a whole on both sides. It returns a report also when something differs, with
// ErrDiffers. Of a set that is not here any more, the replica is compared with its manifest, and there is no content to compare.
func (e *Engine) Verify(ctx context.Context, id driver.SetID, target string, link Link, content bool) (report.Verification, error) {
	r := report.Verification{Set: string(id), Target: target, Faults: []string{}, Members: []report.VerifiedMember{}}
	l, err := link.List(ctx, id.App(), true)
	if err != nil {
		return r, fmt.Errorf("target %s: %w", target, err)
	}
	replica, err := setOf(l.Sets(), id)
	if err != nil {
		return r, fmt.Errorf("at target %s: %w", target, err)
	}
	here, err := e.Set(ctx, id)
	if errors.Is(err, ErrNoSet) && !content {
		here, err = snapset.Set{}, nil
	}
	if err != nil {
		return r, err
	}
	if !replica.Complete {
		r.Faults = append(r.Faults, replica.Manifest.Faults...)
	}
	if here.Manifest != nil && !here.Complete {
		r.Faults = append(r.Faults, "the set here is not complete")
	}
	var unknown []error
	for _, m := range here.Snapshots {
		one, err := e.verifyMember(ctx, m, replica, link, content)
		r.Members, unknown = append(r.Members, one), append(unknown, err)
	}
	if here.Manifest == nil {
		for _, m := range replica.Snapshots {
			r.Members = append(r.Members, report.VerifiedMember{Dataset: m.Dataset.Name, Replica: m.Name, GUID: m.GUID, OK: m.Fault == "", Error: m.Fault})
		}
	}
	r.OK = len(r.Faults) == 0 && !slices.ContainsFunc(r.Members, func(m report.VerifiedMember) bool { return !m.OK })
	switch {
	case ctx.Err() != nil:
		return r, ctx.Err()
	case errors.Join(unknown...) != nil:
		return r, errors.Join(unknown...)
	case !r.OK:
		return r, fmt.Errorf("%s at %s: %w", id, target, ErrDiffers)
	}
	return r, nil
}

func setOf(sets []snapset.Set, id driver.SetID) (snapset.Set, error) {
	for _, s := range sets {
		if s.ID == id {
			return s, nil
		}
	}
	return snapset.Set{}, fmt.Errorf("%s: %w", id, ErrNoSet)
}

// verifyMember returns an error if it could not find out whether a member differs.
func (e *Engine) verifyMember(
	ctx context.Context, m driver.Snapshot, replica snapset.Set, link Link, content bool,
) (out report.VerifiedMember, err error) {
	out = report.VerifiedMember{Dataset: m.Dataset.Name, GUID: m.GUID}
	i := slices.IndexFunc(replica.Snapshots, func(s driver.Snapshot) bool { return s.GUID == m.GUID })
	if i < 0 {
		out.Error = "no member there has its GUID"
		return out, nil
	}
	there := replica.Snapshots[i]
	out.Replica, out.Error = there.Name, there.Fault
	if content && out.Error == "" {
		if err := e.compare(ctx, m, there, link, &out); err != nil {
			out.Error = "its content was not compared: " + err.Error()
			return out, fmt.Errorf("compare the content of %s: %w", m.Name, err)
		}
	}
	out.OK = out.Error == ""
	return out, nil
}

// compare reads both sides at once. That they differ is no error, but in out.
func (e *Engine) compare(ctx context.Context, m, there driver.Snapshot, link Link, out *report.VerifiedMember) error {
	d, err := e.driver(m.Dataset.Kind)
	if err != nil {
		return err
	}
	e.stage("reading " + m.Name + " here and at the target")
	defer e.stage("")
	var mine, theirs tree.Digest
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		mine, err = replicate.DigestOf(gctx, d, m, e.mounts())
		return err
	})
	g.Go(func() (err error) {
		if theirs, err = link.Digest(gctx, there); err != nil {
			err = fmt.Errorf("replica: %w", err)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	out.Content, out.ReplicaContent = &mine, &theirs
	if mine != theirs {
		out.Error = fmt.Sprintf("it holds %d files with %d bytes (%.12s…), and the replica %d with %d (%.12s…)",
			mine.Files, mine.Bytes, mine.SHA256, theirs.Files, theirs.Bytes, theirs.SHA256)
	}
	return nil
}
