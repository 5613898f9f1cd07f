package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/fault"
)

// setting is a property of ZFS itself.
type setting struct{ name, value string }

// harmless are the properties that a new file system is received with, whatever it would inherit: it is not mounted or shared,
// and nothing in it can be executed, or act with rights, should somebody mount it.
var harmless = []setting{
	{"canmount", "off"},
	{"mountpoint", "none"},
	{"readonly", "on"},
	{"setuid", "off"},
	{"exec", "off"},
	{"devices", "off"},
	{"sharenfs", "off"},
	{"sharesmb", "off"},
	{"overlay", "off"},
	{"snapdir", "hidden"},
}

// toReceive are the permissions of zfs-allow(8) on a place without which something here fails.
var toReceive = []string{
	"canmount", "create", "destroy", "devices", "exec", "hold", "mount", "mountpoint", "overlay", "readonly", "receive", "release",
	"setuid", "sharenfs", "sharesmb", "snapdir", "userprop",
}

// afterwards is how long what has to follow a stream may take, also if the context of that has ended.
const afterwards = time.Minute

// Receive implements driver.Receiver. The stream is that of `zfs receive -s`, which keeps what came of one that breaks.
func (r *Replicas) Receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	out, err := r.receive(ctx, req, in)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("receive %.100q of %.300q: %w", req.Snapshot.Set, req.Snapshot.Dataset.Name, err)
	}
	return out, nil
}

func (r *Replicas) receive(ctx context.Context, req driver.ReceiveRequest, in io.Reader) (driver.Snapshot, error) {
	a, err := r.arrive(ctx, req)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer a.close()
	line, stop := letGo(ctx, in)
	defer stop()
	s, err := begun(line, a.record.GUID, a.record.Base, a.resume != "")
	if ctx.Err() != nil {
		return driver.Snapshot{}, ctx.Err()
	}
	if err != nil {
		return driver.Snapshot{}, err
	}
	if err := a.asBegun(ctx, s.head); err != nil {
		return driver.Snapshot{}, err
	}
	if err := a.prepare(ctx); err != nil {
		return driver.Snapshot{}, err
	}
	err = a.fill(ctx, s)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	if err != nil {
		return driver.Snapshot{}, errors.Join(err, a.clean(after, s, err))
	}
	return a.finish(after)
}

// fill runs `zfs receive`. Options that could change more than the new snapshot (-F, -d, -e) are never given.
func (a *arrival) fill(ctx context.Context, s *arriving) error {
	argv := []string{"zfs", "receive", "-s", "-u"}
	if a.origin != "" {
		argv = append(argv, "-o", "origin="+a.origin)
	}
	if a.isNew() {
		value, err := a.record.encode()
		if err != nil {
			return err
		}
		argv = append(argv, "-o", replicaProp+"="+value)
		for _, p := range harmless {
			argv = append(argv, "-o", p.name+"="+p.value)
		}
	}
	fault.Point("before receive")
	_, err := command.Run(ctx, command.Cmd{Argv: append(argv, a.name()), Stdin: s})
	fault.Point("after receive")
	err = classify(err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%s)", ctx.Err(), err.Error())
	case s.why() != nil:
		return fmt.Errorf("%w: %w: %w", driver.ErrBadStream, s.why(), err)
	case errors.Is(err, driver.ErrNotFound): // of the file system, not of the base
		return fmt.Errorf("%s was changed meanwhile: %s", a.dataset, err.Error())
	case errors.Is(err, driver.ErrDiverged):
		return fmt.Errorf("%s, and %s (%s) arrives on top of %s: %w", a.dataset, a.record.Set, a.record.GUID, a.record.Base, err)
	}
	return err
}

// clean removes what `zfs receive` kept of a stream, unless that broke: what is wrong with one that came to its end will not
// get better, and what a full pool has no room for is best removed.
func (a *arrival) clean(ctx context.Context, s *arriving, err error) error {
	if s.why() != nil && !errors.Is(err, driver.ErrNoSpace) {
		return nil
	}
	v, err := a.place.look(ctx, []string{a.dataset})
	if err != nil {
		return err
	}
	c := v.children[a.dataset]
	if c == nil || c.token == "" {
		return nil
	}
	if p, err := c.partial(); err != nil || p.GUID != a.record.GUID {
		return err
	}
	return abort(ctx, a.dataset)
}

// finish finds the new snapshot, and gives it its record. It is durable already: `zfs receive` has waited for its transaction
// group. If the record cannot be written, that of the file system still stands for it.
func (a *arrival) finish(ctx context.Context) (driver.Snapshot, error) {
	v, err := a.place.look(ctx, []string{a.dataset, a.name()})
	if err != nil {
		return driver.Snapshot{}, err
	}
	one, there := v.snapshots[a.name()]
	if !there || !one.ours || one.guid != a.record.GUID {
		return driver.Snapshot{}, fmt.Errorf("%s: is not what was received a moment ago: %w", a.name(), driver.ErrForeign)
	}
	if a.isNew() {
		if err := a.provesHarmless(ctx); err != nil {
			return driver.Snapshot{}, errors.Join(err, a.discard(ctx))
		}
	}
	rec := a.record
	rec.Received = time.Now().UTC().Round(0)
	if err := setRecord(ctx, a.name(), rec); err == nil {
		rec.fill(&one.now)
	}
	return one.now, nil
}

// provesHarmless reads the properties of the new file system: that one could not be set is no error to `zfs receive`.
func (a *arrival) provesHarmless(ctx context.Context) error {
	missing := map[string]string{}
	var names []string
	for _, p := range harmless {
		missing[p.name] = p.value
		names = append(names, p.name)
	}
	err := list(ctx, false, func(f []string) error {
		if len(f) == 3 && missing[f[0]] == f[1] && f[2] == local {
			delete(missing, f[0])
		}
		return nil
	}, "zfs", "get", "-Hp", "-o", "property,value,source", strings.Join(names, ","), a.dataset)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%s: its properties could not be set to %v: %w", a.dataset, missing, fs.ErrPermission)
	}
	return err
}

// discard destroys what was received by this very arrival into a new file system, and that.
func (a *arrival) discard(ctx context.Context) error {
	fault.Point("before discard of a replica")
	_, err := run(ctx, "zfs", "destroy", a.name())
	if err == nil {
		err = destroyFileSystem(ctx, a.dataset)
	}
	return err
}

// allowed is an error if somebody who is not root lacks a right: some of them `zfs receive` does not miss.
func (r *Replicas) allowed(ctx context.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	found, err := missingRights(ctx, r.place.name, slices.Clone(toReceive))
	if err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("%s (%s): %w", found[0].What, found[0].Mend, fs.ErrPermission)
}
