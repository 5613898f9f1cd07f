package drill

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/fault"
	"github.com/volsnap/volsnap/report"
	"github.com/volsnap/volsnap/snapset"
)

const tokenSize = 12 // hexadecimal digits

// trial is one drill of one set.
type trial struct {
	drill   *Drill
	app     App
	src     Source
	set     snapset.Set
	began   time.Time
	report  report.Drill
	journal *journal
	stagers []driver.Stager // of the members of the set, in their order
	volumes []volume

	prepared time.Duration   // from the beginning until the first server was about to be started
	named    map[string]bool // files that a row names and that were last written to just before, by volume and path
}

// volume is a volume of the set, as it lies in its clone.
type volume struct {
	member snapset.Member
	at     string // an absolute path without symbolic links
}

func (t *trial) pass(name, format string, args ...any) {
	t.note(name, true, fmt.Sprintf(format, args...))
}

func (t *trial) fail(name, format string, args ...any) {
	t.note(name, false, fmt.Sprintf(format, args...))
}

func (t *trial) note(name string, ok bool, detail string) {
	t.report.Checks = append(t.report.Checks, report.DrillCheck{Name: name, OK: ok, Detail: strings.ToValidUTF8(detail, "�")})
}

// run makes all checks. The error says why there is no verdict.
func (t *trial) run(ctx context.Context) error {
	ok, err := t.checkSet()
	if err != nil || !ok {
		return err
	}
	if t.stagers, err = t.findStagers(); err != nil {
		return err
	}
	if err := t.announce(); err != nil {
		return err
	}
	t.drill.stage("cloning " + string(t.set.ID))
	if err := t.stageAll(ctx); err != nil {
		if ctx.Err() == nil {
			t.fail("stage", "%v", err)
			return nil
		}
		return err
	}
	if err := t.databases(ctx); err != nil {
		return err
	}
	if err := t.contents(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// remove removes what run made.
func (t *trial) remove(ctx context.Context) error {
	if t.journal == nil {
		return nil
	}
	t.drill.stage("removing what the drill made")
	return t.drill.remove(ctx, t.journal)
}

// findStagers looks for the storages that can clone the members, before anything is done.
func (t *trial) findStagers() ([]driver.Stager, error) {
	all := make([]driver.Stager, 0, len(t.set.Snapshots))
	for _, s := range t.set.Snapshots {
		by, err := t.src.Stager(s.Dataset.Kind)
		if err != nil {
			return nil, err
		}
		all = append(all, by)
	}
	return all, nil
}

// announce writes the journal, with all clones that are about to be made.
func (t *trial) announce() error {
	random := make([]byte, tokenSize/2)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	j := &journal{Version: journalVersion, App: t.app.Name, From: t.report.From, Set: t.report.Set, Token: hex.EncodeToString(random)}
	for i, s := range t.set.Snapshots {
		ds, err := t.stagers[i].StageOf(s, j.stageName(i))
		if err != nil {
			return err
		}
		j.Stages = append(j.Stages, staged{Kind: ds.Kind, Name: ds.Name, Dir: filepath.Join(t.drill.RunDir, "mounts", j.stageName(i))})
	}
	t.journal = j
	return t.drill.write(j)
}

func (j *journal) stageName(i int) string { return fmt.Sprintf("drill.%s.%s.%d", j.App, j.Token, i+1) }

// stageAll clones every member and finds the volumes in the clones.
func (t *trial) stageAll(ctx context.Context) error {
	for i, s := range t.set.Snapshots {
		if err := t.stageOne(ctx, i, s); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) stageOne(ctx context.Context, i int, s driver.Snapshot) error {
	to := &t.journal.Stages[i]
	fault.Point("before stage")
	st, err := t.stagers[i].Stage(ctx, s, t.journal.stageName(i))
	if err != nil {
		return err
	}
	fault.Point("after stage")
	to.GUID = st.GUID
	if err := os.MkdirAll(to.Dir, 0o700); err != nil {
		return err
	}
	top, err := t.stagers[i].Attach(ctx, st, to.Dir)
	if err != nil {
		return err
	}
	fault.Point("after attach of a stage")
	for _, m := range snapset.Members(s) {
		at, err := plainPath(top, m.Path)
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Volume, err)
		}
		t.volumes = append(t.volumes, volume{member: m, at: at})
	}
	return nil
}

// plainPath is a path inside of a clone, which must not lead out of it: whoever wrote the set may have put symbolic links there.
func plainPath(top, rel string) (string, error) {
	if !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%q is no path inside of its dataset", rel)
	}
	at := filepath.Join(top, rel)
	real, err := filepath.EvalSymlinks(at)
	if err != nil {
		return "", err
	}
	if real != at {
		if whole, err := filepath.EvalSymlinks(top); err != nil || real != filepath.Join(whole, rel) {
			return "", fmt.Errorf("%s has symbolic links in it", at)
		}
	}
	return real, nil
}

// volumeNamed is a volume of the set.
func (t *trial) volumeNamed(name string) (volume, bool) {
	for _, v := range t.volumes {
		if v.member.Volume == name {
			return v, true
		}
	}
	return volume{}, false
}
