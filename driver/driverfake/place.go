package driverfake

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
)

// Place is a place for replicas in memory, and the process that uses it. It has a script of its own, and is checked as a Driver
// is. A replica's dataset is "/places/NAME" and the dataset's name at the source.
type Place struct {
	core
	resume   bool
	arriving map[string]bool    // by dataset
	partials map[string]partial // by dataset
}

// partial is what is kept of a transfer that broke.
type partial struct {
	guid, base string
	stream     []byte
}

// NewPlace is an empty place for replicas of the fake of New.
func NewPlace(t testing.TB, name string) *Place { return NewPlaceKind(t, Kind, name) }

// NewPlaceKind is an empty place for replicas of the fake of NewKind.
func NewPlaceKind(t testing.TB, kind, name string) *Place {
	p := &Place{arriving: map[string]bool{}, partials: map[string]partial{}}
	p.place = name
	p.start(t, kind)
	return p
}

// SetResume makes the place keep what came of a transfer that broke from now on, or not.
func (p *Place) SetResume(resume bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.resume = resume
}

// Restart is a new process at the same place: see Driver.
func (p *Place) Restart() {
	p.core.Restart()
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.arriving)
}

// Files are what a snapshot or a replica holds, nil if it is not here.
func (d *core) Files(s driver.Snapshot) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if have := d.snaps[s.Name]; have != nil {
		return have.files
	}
	return nil
}

// Formats implements driver.Receiver.
func (p *Place) Formats() []string { return []string{FormatTwo} }

// Space implements driver.Receiver.
func (p *Place) Space(ctx context.Context) (driver.Space, error) {
	if err := p.enter(ctx, "Space"); err != nil {
		return driver.Space{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.space, nil
}

// Partials implements driver.Receiver.
func (p *Place) Partials(ctx context.Context) ([]driver.Partial, error) {
	if err := p.enter(ctx, "Partials"); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []driver.Partial
	for _, have := range p.partials {
		out = append(out, driver.Partial{
			GUID: have.guid, Base: have.base, Token: tokenOf(have.stream), Bytes: int64(len(have.stream)),
		})
	}
	slices.SortFunc(out, func(a, b driver.Partial) int { return strings.Compare(a.GUID, b.GUID) })
	return out, nil
}

// Receive implements driver.Receiver.
func (p *Place) Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	if err := p.enter(ctx, "Receive", req.Snapshot.Dataset.Name, req.Snapshot.GUID); err != nil {
		return driver.Snapshot{}, err
	}
	got, err := p.receive(ctx, req, r)
	if err != nil {
		return driver.Snapshot{}, fmt.Errorf("receive %q of %q: %w", req.Snapshot.Set, req.Snapshot.Dataset.Name, err)
	}
	return got, nil
}

func (p *Place) receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error) {
	s, on, done, err := p.arrive(req)
	if err != nil {
		return driver.Snapshot{}, err
	}
	defer done()
	stream, err := readAll(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.script.dead() {
		return driver.Snapshot{}, fmt.Errorf("receive %s: %w", s.Name, ErrKilled)
	}
	kept := p.partials[s.Dataset.Name]
	stream = append(slices.Clone(kept.stream), stream...)
	if err == nil {
		s.files, err = decode(stream, s.GUID, req.Base, on)
	}
	if err != nil {
		return driver.Snapshot{}, p.keep(s, req.Base, stream, err)
	}
	err = p.effect("receive", s.Name, func() {
		delete(p.partials, s.Dataset.Name)
		p.order++
		s.Order, s.Received = p.order, time.Now()
		p.snaps[s.Name] = s
	})
	return s.copy(), err
}

// keep keeps what came of a transfer that broke because of err, if the place does that. p.mu is held.
func (p *Place) keep(s *snapshot, base string, stream []byte, err error) error {
	if _, _, whole := cutLast(stream); !p.resume || whole || len(stream) == 0 {
		delete(p.partials, s.Dataset.Name) // its end came, so what is wrong with it will not get better
		return err
	}
	effectErr := p.effect("keep", s.Name, func() { p.partials[s.Dataset.Name] = partial{s.GUID, base, stream} })
	if effectErr != nil {
		return effectErr
	}
	return err
}

// arrive checks what was announced, and claims its dataset until done is called.
func (p *Place) arrive(req driver.ReceiveRequest) (s *snapshot, on map[string]string, done func(), err error) {
	if err := checkAnnounced(p.kind, req); err != nil {
		return nil, nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ds := driver.Dataset{Kind: p.kind, Name: placePrefix + p.place + "/" + strings.TrimPrefix(req.Snapshot.Dataset.Name, "/")}
	s = &snapshot{Snapshot: driver.Snapshot{
		Dataset: ds, Name: ds.Name + "@" + req.Snapshot.Set.SnapshotName(), Set: req.Snapshot.Set,
		Member: req.Snapshot.Member, Of: req.Snapshot.Of, Volumes: slices.Clone(req.Snapshot.Volumes),
		GUID: req.Snapshot.GUID, Taken: req.Snapshot.Taken,
	}}
	base, err := p.fits(s, req)
	if err != nil {
		return nil, nil, nil, err
	}
	kept := p.partials[ds.Name]
	if req.Resume != "" && (kept.guid != s.GUID || kept.base != req.Base || tokenOf(kept.stream) != req.Resume) {
		return nil, nil, nil, fmt.Errorf("token %q: %w", req.Resume, driver.ErrStale)
	}
	if req.Resume == "" {
		delete(p.partials, ds.Name)
	}
	p.arriving[ds.Name] = true
	release := func() {}
	if base != nil {
		on, release = base.files, p.hold(base)
	}
	script := p.script.n
	return s, on, func() {
		release()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.script.n == script {
			delete(p.arriving, ds.Name)
		}
	}, nil
}

// fits is the base that a replica builds on, or why it cannot come. p.mu is held.
func (p *Place) fits(s *snapshot, req driver.ReceiveRequest) (base *snapshot, err error) {
	var newest *snapshot
	for _, have := range p.snaps {
		if have.GUID == req.Base && have.Fault == "" {
			base = have
		}
		if have.Dataset != s.Dataset {
			continue
		}
		if have.GUID == s.GUID || have.Name == s.Name {
			return nil, fmt.Errorf("%s: %w", have.Name, driver.ErrExists)
		}
		if newest == nil || have.Order > newest.Order {
			newest = have
		}
	}
	switch {
	case p.arriving[s.Dataset.Name]:
		return nil, fmt.Errorf("another stream of its dataset is arriving: %w", driver.ErrBusy)
	case req.Base == "" && newest != nil:
		return nil, fmt.Errorf("the newest here is %s (%s), and %s (%s) arrives with no base: %w",
			newest.Name, newest.GUID, s.Set, s.GUID, driver.ErrDiverged)
	case req.Base != "" && base == nil:
		return nil, fmt.Errorf("base %s: %w", req.Base, driver.ErrNotFound)
	}
	return base, nil
}
