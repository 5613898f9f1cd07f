package btrfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs/internal/stream"
	"github.com/volsnap/volsnap/internal/command"
)

// Send implements driver.Sender. The stream is that of "btrfs send". While it runs, the snapshot and the base are ErrBusy to
// Unseal and Destroy: not by the lock of their store, which others need meanwhile, but by one on each of them.
func (k kept) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	if err := k.send(ctx, req, w); err != nil {
		return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
	}
	return nil
}

func (r realm) send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	var kept *skipper
	if req.Resume != "" {
		t, err := parseToken(req.Resume)
		if err != nil {
			return err
		}
		kept = newSkipper(w, t)
		w = kept
	}
	held, err := r.holdAll(ctx, req)
	if err != nil {
		return classify(err)
	}
	defer closeAll(held...)
	argv := []string{"btrfs", "send", "-q"}
	compressed, err := canSendCompressed(ctx, req.Formats)
	if err != nil {
		return err
	}
	if compressed {
		argv = append(argv, "--proto", "2", "--compressed-data")
	}
	head := &headCheck{w: w, guid: req.Snapshot.GUID}
	if req.Base != nil {
		head.base = req.Base.GUID
		argv = append(argv, "-p", req.Base.Name)
	}
	if _, err := command.Run(ctx, command.Cmd{Argv: append(argv, req.Snapshot.Name), Stdout: head}); err != nil {
		return err
	}
	if !head.passed {
		return errors.New("btrfs send wrote nothing that a stream begins with")
	}
	if kept != nil {
		return kept.end()
	}
	return nil
}

// holdAll finds the snapshot and the base and holds them, until what it returns is closed.
func (r realm) holdAll(ctx context.Context, req driver.SendRequest) (held []*os.File, err error) {
	all := []driver.Snapshot{req.Snapshot}
	if req.Base != nil {
		all = append(all, *req.Base)
	}
	defer func() {
		if err != nil {
			closeAll(held...)
		}
	}()
	st, err := r.lockStores(ctx, all)
	if err != nil {
		return nil, err
	}
	defer st.close()
	for _, s := range all {
		p, err := st.find(s)
		if err != nil {
			return held, fmt.Errorf("%s: %w", s.Name, err)
		}
		held = append(held, p.dir)
		if err := errors.Join(p.hold(), p.sendable()); err != nil {
			return held, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return held, nil
}

// sendable is an error for a snapshot whose stream would carry another UUID than its GUID. The kernel sends the received UUID
// where there is one. All snapshots of a subvolume that was received and then made writable have the same.
func (p *spot) sendable() error {
	if p.info.received.IsZero() || p.info.received.String() == p.record.guid(p.info) {
		return nil
	}
	return fmt.Errorf("its subvolume was once received and then made writable, so its streams say that they are of %s: %w",
		p.info.received, driver.ErrNotSupported)
}

// headCheck passes a stream on once its first command was seen to make what was asked for.
type headCheck struct {
	w          io.Writer
	guid, base string
	held       []byte // until it passed
	passed     bool
}

func (h *headCheck) Write(p []byte) (int, error) {
	if h.passed {
		return h.w.Write(p)
	}
	h.held = append(h.held, p...)
	if n := stream.HeadSize(h.held); n == 0 || n > len(h.held) {
		return len(p), nil
	}
	head, err := stream.NewReader(bytes.NewReader(h.held)).Head()
	if err != nil {
		return 0, err
	}
	base := ""
	if !head.Base.IsZero() {
		base = head.Base.String()
	}
	if head.UUID.String() != h.guid || base != h.base {
		return 0, fmt.Errorf("the stream makes %s on top of %q, not %s on top of %q: %w",
			head.UUID, base, h.guid, h.base, driver.ErrForeign)
	}
	h.passed = true
	if _, err := h.w.Write(h.held); err != nil {
		return 0, err
	}
	h.held = nil
	return len(p), nil
}
