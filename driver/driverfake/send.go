package driverfake

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// piece is how much Send writes at a time, so that a writer can fail in the midst of a short stream.
const piece = 64

// placePrefix begins the names of all places and replicas.
const placePrefix = "/places/"

// owns reports whether something of that name would be kept here.
func (d *core) owns(name string) bool {
	if d.place == "" {
		return !strings.HasPrefix(name, placePrefix)
	}
	return strings.HasPrefix(name, placePrefix+d.place+"/")
}

// Send implements driver.Sender. The same request always makes the same stream.
func (d *core) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	args := []string{req.Snapshot.Name}
	if req.Base != nil {
		args = append(args, req.Base.Name)
	}
	if err := d.enter(ctx, "Send", args...); err != nil {
		return err
	}
	stream, release, err := d.open(req)
	if err != nil {
		return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
	}
	defer release()
	for part := range slices.Chunk(stream, piece) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
		}
		if err := d.alive("send", req.Snapshot.Name); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
		}
	}
	return nil
}

// open makes the stream that was asked for, and holds what it is of until release is called.
func (d *core) open(req driver.SendRequest) (stream []byte, release func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	have, err := d.ours(req.Snapshot)
	if err != nil {
		return nil, nil, err
	}
	held := []*snapshot{have}
	base, on := "", map[string]string(nil)
	if req.Base != nil {
		b, err := d.ours(*req.Base)
		if err != nil {
			return nil, nil, fmt.Errorf("base %s: %w", req.Base.Name, err)
		}
		held = append(held, b)
		base, on = b.GUID, b.files
	}
	version := 1
	if slices.Contains(req.Formats, FormatTwo) {
		version = 2
	}
	stream = encode(version, have.GUID, base, have.files, on)
	if req.Resume != "" {
		if stream, err = skip(stream, req.Resume); err != nil {
			return nil, nil, err
		}
	}
	return stream, d.hold(held...), nil
}

// hold keeps snapshots from being unsealed and destroyed. d.mu is held.
func (d *core) hold(all ...*snapshot) (release func()) {
	for _, s := range all {
		s.streams++
	}
	script := d.script.n
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, s := range all {
			if d.script.n == script { // a new process holds nothing of the old one's
				s.streams--
			}
		}
	}
}

// alive is ErrKilled once the process has come to its end.
func (d *core) alive(what, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.script.dead() {
		return fmt.Errorf("%s %s: %w", what, name, ErrKilled)
	}
	return nil
}
