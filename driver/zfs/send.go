package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/command"
	"github.com/volsnap/volsnap/internal/state"
)

// Send implements driver.Sender. The stream is that of `zfs send`. What is encrypted is sent as it is on disk, by a host that
// need not have the key, to one that never sees it.
func (k *kept) Send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	if err := k.send(ctx, req, w); err != nil {
		return fmt.Errorf("send %s: %w", req.Snapshot.Name, err)
	}
	return nil
}

func (k *kept) send(ctx context.Context, req driver.SendRequest, w io.Writer) error {
	release, err := k.holdAll(ctx, req)
	if err != nil {
		return err
	}
	defer release()
	encrypted, err := isEncrypted(ctx, liesIn(req.Snapshot))
	if err != nil {
		return err
	}
	argv, err := sendCommand(req, encrypted)
	if err != nil {
		return err
	}
	out := &headCheck{w: w, guid: req.Snapshot.GUID, raw: encrypted, resumed: req.Resume != ""}
	if req.Base != nil {
		out.base = req.Base.GUID
	}
	_, err = command.Run(ctx, command.Cmd{Argv: argv, Stdout: out})
	switch {
	case err == nil && !out.passed:
		return errors.New("zfs send wrote nothing that a stream begins with")
	case err != nil && req.Resume != "" && !out.passed && ctx.Err() == nil:
		return fmt.Errorf("%w: %w", driver.ErrStale, err)
	}
	return classify(err)
}

// holdAll finds the snapshot and the base, and keeps both from being unsealed or destroyed until release is called. They are
// held before they are looked for: one that is there then stays.
func (k *kept) holdAll(ctx context.Context, req driver.SendRequest) (release func(), err error) {
	all := []driver.Snapshot{req.Snapshot}
	if req.Base != nil {
		all = append(all, *req.Base)
	}
	var uses []string
	for _, s := range all {
		if !validGUID(s.GUID) {
			return nil, fmt.Errorf("%s has no GUID %q: %w", s.Name, s.GUID, driver.ErrForeign)
		}
		uses = append(uses, useOf(s.GUID))
	}
	release, err = k.uses.Use(uses...)
	if errors.Is(err, state.ErrLocked) {
		return nil, fmt.Errorf("about to be destroyed: %w: %w", driver.ErrBusy, err)
	}
	if err != nil {
		return nil, err
	}
	l, err := k.lookAt(ctx, all)
	for i := 0; err == nil && i < len(all); i++ {
		if _, err = l.find(all[i]); err != nil {
			err = fmt.Errorf("%s: %w", all[i].Name, err)
		}
	}
	if err == nil && req.Base != nil && req.Base.Dataset != req.Snapshot.Dataset {
		err = fmt.Errorf("its base %s lies in another dataset: %w", req.Base.Name, driver.ErrNotSupported)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// isEncrypted reports whether a dataset is.
func isEncrypted(ctx context.Context, dataset string) (bool, error) {
	out, err := run(ctx, "zfs", "get", "-Hp", "-o", "value", "encryption", dataset)
	if err != nil {
		return false, err
	}
	switch value := strings.TrimSuffix(out, "\n"); value {
	case "off", "-": // "-": the pool has no encryption
		return false, nil
	case "":
		return false, errors.New("zfs get: nothing is said of its encryption")
	default:
		return true, nil
	}
}

// sendCommand is the command that makes the stream.
func sendCommand(req driver.SendRequest, encrypted bool) ([]string, error) {
	if encrypted && !slices.Contains(req.Formats, FormatEncrypted) {
		return nil, fmt.Errorf("it is encrypted, and the receiver's pool has no encryption: %w", driver.ErrNotSupported)
	}
	if req.Resume != "" {
		if err := checkToken(req, encrypted); err != nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrStale, err)
		}
		return []string{"zfs", "send", "-t", req.Resume}, nil
	}
	argv := []string{"zfs", "send"}
	if encrypted {
		argv = append(argv, "-w")
	} else {
		argv = append(argv, sendOptions(req.Formats)...)
	}
	if req.Base != nil {
		argv = append(argv, "-i", req.Base.Name)
	}
	return append(argv, req.Snapshot.Name), nil
}

// checkToken is an error for a token, which the receiver chose, that would send anything else than the rest of what is asked for.
func checkToken(req driver.SendRequest, encrypted bool) error {
	t, err := parseToken(req.Resume)
	if err != nil {
		return err
	}
	base := ""
	if req.Base != nil {
		base = req.Base.GUID
	}
	switch {
	case t.to != req.Snapshot.GUID || t.from != base || t.name != req.Snapshot.Name:
		return fmt.Errorf("its token is of %q (%s) on top of %q", t.name, t.to, t.from)
	case t.raw != encrypted:
		return fmt.Errorf("that its token is of an encrypted stream is %t", t.raw)
	}
	return nil
}

// headCheck passes a stream on once its first record was seen to be what was asked for.
type headCheck struct {
	w          io.Writer
	guid, base string
	raw        bool
	resumed    bool
	held       []byte // until it passed
	passed     bool
}

func (h *headCheck) Write(p []byte) (int, error) {
	if h.passed {
		return h.w.Write(p)
	}
	if h.held = append(h.held, p...); len(h.held) < recordSize {
		return len(p), nil
	}
	if err := h.check(); err != nil {
		return 0, fmt.Errorf("zfs send: %w: %w", driver.ErrForeign, err)
	}
	h.passed = true
	if _, err := h.w.Write(h.held); err != nil {
		return 0, err
	}
	h.held = nil
	return len(p), nil
}

func (h *headCheck) check() error {
	first, err := parseHead(h.held[:recordSize])
	if err == nil {
		err = errors.Join(first.plain(), first.makes(h.guid, h.base))
	}
	if err == nil && (first.raw() != h.raw || first.resuming() != h.resumed) {
		err = fmt.Errorf("that it is as on disk is %t, that it goes on with another %t", first.raw(), first.resuming())
	}
	return err
}
