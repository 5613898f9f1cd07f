package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/snapset"
)

const streamsAtOnce = 4 // of one set

// Options say how sets are sent.
type Options struct {
	Target    string // its name, which is in the pins of bases
	Order     Order
	Bandwidth *rate.Limiter  // of all streams together, a token a byte; nil: none
	Progress  func(Progress) // told when bytes were sent, from several goroutines; may be nil
}

// Progress is how far the sending of one set is.
type Progress struct {
	Set   driver.SetID
	Sent  int64 // bytes of its streams so far
	Total int64 // an estimate of all of them; 0 if a storage cannot tell
}

// Estimator is a Source that can tell how large a stream will be.
type Estimator interface {
	// Estimate is about how many bytes Send would write.
	Estimate(ctx context.Context, req driver.SendRequest) (int64, error)
}

// Sent is one set that was brought to the target.
type Sent struct {
	ID          driver.SetID
	Bytes       int64 // of its streams, as the storage made them
	Incremental bool  // no member was sent as a whole
	Resumed     bool  // a stream went on where a broken one had stopped
	Took        time.Duration
}

// Result is what Run did.
type Result struct {
	Sent   []Sent       // oldest first
	Newest driver.SetID // the newest set of the source that the target has now; empty if it has none, or none is known
	Listed bool         // the target said what it has
}

// Run sends what the target lacks of the sets of one app, oldest first; with an error comes what was committed before it.
// Nothing to do is no error. The caller keeps other runs off the app, and has listed its sets a moment ago, all of them.
func Run(ctx context.Context, sources []Source, sets []snapset.Set, dst Target, app string, opt Options) (out Result, err error) {
	sets = byAge(sets)
	there, err := dst.List(ctx, app, false)
	if err != nil {
		return out, fmt.Errorf("list what is there: %w", err)
	}
	out.Listed = true
	r := &run{
		sources: map[string]Source{}, pinned: map[string]driver.Snapshot{}, index: map[driver.SetID]int{},
		arrived: map[driver.SetID]bool{}, faulty: map[string]driver.Snapshot{}, dst: dst, formats: there.Formats, opt: opt,
		sets: sets, there: map[string]bool{},
	}
	for _, s := range sources {
		r.sources[s.Kind()] = s
	}
	here := map[string]bool{}
	for _, s := range there.Snapshots {
		here[s.GUID], r.there[s.GUID] = true, s.Fault == ""
		if s.Fault != "" {
			r.faulty[s.GUID] = s
		}
	}
	for i, set := range sets {
		r.index[set.ID] = i
		for _, m := range set.Snapshots {
			if m.Fault == "" && slices.Contains(m.Pins, driver.Base(opt.Target)) {
				r.pinned[m.GUID] = m
			}
			if here[m.GUID] {
				r.arrived[set.ID] = true
			}
		}
	}
	transfers := Steps(sets, there, opt.Order)
	if err := r.pinRoots(ctx); err != nil {
		return out, err
	}
	if at := Common(sets, there); at >= 0 {
		out.Newest = sets[at].ID
		if err := r.keep(ctx, sets[at]); err != nil {
			return out, err
		}
	} else if len(transfers) > 0 {
		if err := r.letGo(ctx, transfers[0].Set.ID); err != nil {
			return out, err
		}
	}
	for _, t := range transfers {
		one, err := r.transfer(ctx, t)
		if err != nil {
			return out, fmt.Errorf("send %s: %w", t.Set.ID, err)
		}
		out.Sent, out.Newest = append(out.Sent, one), one.ID
	}
	return out, nil
}

// run is one Run.
type run struct {
	sources map[string]Source
	pinned  map[string]driver.Snapshot // what is kept for this target, by GUID
	index   map[driver.SetID]int       // of the sets, by age
	arrived map[driver.SetID]bool      // of which the target has members, and has committed none that is newer
	faulty  map[string]driver.Snapshot // what is not at the target as it arrived
	sets    []snapset.Set              // of the source, by age
	there   map[string]bool            // what the target has as it should be, by GUID
	dst     Target
	formats map[string][]string
	opt     Options
	total   int64        // of the set on its way; see Progress
	sent    atomic.Int64 // of it
}

// transfer brings one set to the target.
func (r *run) transfer(ctx context.Context, t Transfer) (Sent, error) {
	begin := time.Now()
	for _, m := range t.Set.Snapshots {
		if bad, is := r.faulty[m.GUID]; is {
			return Sent{}, fmt.Errorf("its replica %s %s: look at it there, and move it away or remove it; then it can be sent again: %w",
				bad.Name, bad.Fault, driver.ErrForeign)
		}
	}
	if err := r.pin(ctx, t.Set); err != nil {
		return Sent{}, err
	}
	out := Sent{ID: t.Set.ID, Incremental: t.Incremental()}
	r.sent.Store(0)
	r.total = r.estimate(ctx, t.Steps)
	counts := make([]streamed, len(t.Steps))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(streamsAtOnce)
	for i, step := range t.Steps {
		g.Go(func() (err error) {
			counts[i], err = r.stream(gctx, step)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Sent{}, err
	}
	fault.Point("before commit of a replica")
	if err := r.dst.Commit(ctx, t.Set.Manifest); err != nil {
		return Sent{}, fmt.Errorf("commit: %w", err)
	}
	fault.Point("after commit of a replica")
	for _, m := range t.Set.Snapshots {
		r.there[m.GUID] = true
	}
	if err := r.keep(ctx, t.Set); err != nil {
		return Sent{}, err
	}
	for _, c := range counts {
		out.Bytes, out.Resumed = out.Bytes+c.bytes, out.Resumed || c.resumed
	}
	out.Took = time.Since(begin)
	zerolog.Ctx(ctx).Info().Str("set", string(out.ID)).Str("target", r.opt.Target).Int64("bytes", out.Bytes).
		Bool("incremental", out.Incremental).Dur("took_ms", out.Took).Msg("replicated")
	return out, nil
}

// pin keeps a set because the target has it, or is about to.
func (r *run) pin(ctx context.Context, set snapset.Set) error {
	for _, m := range set.Snapshots {
		if _, is := r.pinned[m.GUID]; is {
			continue
		}
		s, err := r.source(m.Dataset.Kind)
		if err == nil {
			fault.Point("before pin of a base")
			err = s.Pin(ctx, m, driver.Base(r.opt.Target))
			fault.Point("after pin of a base")
		}
		if err != nil {
			return fmt.Errorf("keep %s as the next base: %w", m.Name, err)
		}
		r.pinned[m.GUID] = m
	}
	return nil
}

// pinRoots keeps what the next sets of some datasets will build on, although it is not the newest that the target has; see roots.
func (r *run) pinRoots(ctx context.Context) error {
	keep := roots(r.sets, r.there)
	for _, set := range r.sets {
		if keep[set.ID] {
			if err := r.pin(ctx, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep makes a set that the target has committed the one that is kept for it, with what has arrived of newer ones.
func (r *run) keep(ctx context.Context, set snapset.Set) error {
	if err := r.pin(ctx, set); err != nil {
		return err
	}
	for id := range r.arrived {
		if r.index[id] <= r.index[set.ID] {
			delete(r.arrived, id)
		}
	}
	return r.letGo(ctx, set.ID)
}

// letGo lets go what is kept for this target, but for one set, for those of which members have arrived (where replicas are one line,
// the next stream can build on nothing else), and for roots.
func (r *run) letGo(ctx context.Context, but driver.SetID) error {
	var failed []error
	stay := roots(r.sets, r.there)
	for guid, m := range r.pinned {
		if m.Set == but || r.arrived[m.Set] || stay[m.Set] {
			continue
		}
		s, err := r.source(m.Dataset.Kind)
		if err == nil {
			fault.Point("before unpin of a base")
			err = s.Unpin(ctx, m, driver.Base(r.opt.Target))
			fault.Point("after unpin of a base")
		}
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			failed = append(failed, fmt.Errorf("let the base %s go: %w", m.Name, err))
			continue
		}
		delete(r.pinned, guid)
	}
	return errors.Join(failed...)
}

func (r *run) source(kind string) (Source, error) {
	if s := r.sources[kind]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("snapshots of %s cannot be sent", kind)
}

// streamed is what came of one step.
type streamed struct {
	bytes   int64
	resumed bool
}

// stream carries out one step. Where the remains of a broken stream do not fit any more, it begins anew.
func (r *run) stream(ctx context.Context, step Step) (streamed, error) {
	out, err := r.send(ctx, step)
	if step.Resume != "" && errors.Is(err, driver.ErrStale) {
		zerolog.Ctx(ctx).Warn().Err(err).Str("snapshot", step.Snapshot.Name).Msg("sending it from the beginning")
		step.Resume = ""
		out, err = r.send(ctx, step)
	}
	if err != nil {
		return out, fmt.Errorf("%s: %w", step.Snapshot.Name, err)
	}
	return out, nil
}

func (r *run) send(ctx context.Context, step Step) (streamed, error) {
	src, err := r.source(step.Snapshot.Dataset.Kind)
	if err != nil {
		return streamed{}, err
	}
	formats, accepts := r.formats[src.Kind()]
	if !accepts {
		return streamed{}, fmt.Errorf("the target takes no snapshots of %s", src.Kind())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	w := &meter{to: pw, step: step, run: r, ctx: ctx}
	sending := make(chan error, 1)
	go func() {
		err := src.Send(ctx, step.request(formats), w)
		_ = pw.CloseWithError(err) // never fails; nil is the end of the stream
		sending <- err
	}()
	req := driver.ReceiveRequest{Snapshot: step.Snapshot, Resume: step.Resume}
	if step.Base != nil {
		req.Base = step.Base.GUID
	}
	fault.Point("before a stream")
	_, received := r.dst.Receive(ctx, req, pr)
	fault.Point("after a stream")
	_ = pr.CloseWithError(cmp.Or(received, io.ErrClosedPipe)) // so that Send ends too
	if received != nil {
		cancel()
	}
	sent := <-sending
	return streamed{w.n, step.Resume != ""}, verdict(received, sent)
}

func (s Step) request(formats []string) driver.SendRequest {
	return driver.SendRequest{Snapshot: s.Snapshot, Base: s.Base, Formats: formats, Resume: s.Resume}
}

// estimate is how many bytes some steps will send together, for whom somebody waits; 0 if that cannot be told.
func (r *run) estimate(ctx context.Context, steps []Step) (total int64) {
	if r.opt.Progress == nil {
		return 0
	}
	for _, step := range steps {
		src, ok := r.sources[step.Snapshot.Dataset.Kind].(Estimator)
		if !ok {
			return 0
		}
		n, err := src.Estimate(ctx, step.request(r.formats[step.Snapshot.Dataset.Kind]))
		if err != nil {
			zerolog.Ctx(ctx).Debug().Err(err).Str("snapshot", step.Snapshot.Name).Msg("its size cannot be estimated")
			return 0
		}
		total += n
	}
	return total
}

// verdict is the error of a stream. When one side fails the other sees a broken pipe or a stream that ends early; what the
// sender says counts first, unless it only saw that nobody reads any more.
func verdict(received, sent error) error {
	switch {
	case received == nil:
		return nil // the snapshot is there, with its GUID
	case sent == nil, errors.Is(sent, io.ErrClosedPipe), errors.Is(sent, context.Canceled), errors.Is(sent, received):
		return received
	}
	return errors.Join(sent, received)
}

// meter counts a stream, and slows it down to the bandwidth.
type meter struct {
	to   io.Writer
	step Step
	run  *run
	ctx  context.Context
	n    int64
}

func (m *meter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		some := p[done:]
		if limit := m.run.opt.Bandwidth; limit != nil {
			some = some[:min(len(some), limit.Burst())]
			if err := limit.WaitN(m.ctx, len(some)); err != nil {
				return done, err
			}
		}
		n, err := m.to.Write(some)
		done, m.n = done+n, m.n+int64(n)
		sent := m.run.sent.Add(int64(n))
		if m.run.opt.Progress != nil {
			m.run.opt.Progress(Progress{Set: m.step.Snapshot.Set, Sent: sent, Total: m.run.total})
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
