package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/volsnap/volsnap/internal/fixture"
	"github.com/volsnap/volsnap/internal/testhost"
)

// replicate sends the sets to a second file system, by a real sshd on loopback, while the node is under load.
func (p *play) replicate(ctx context.Context) (err error) {
	if p.storage != testhost.PartBtrfs {
		p.out.heading("A backup server")
		p.out.text("This version replicates from Btrfs alone: left out here.")
		return nil
	}
	pool, remove, err := testhost.NewPool(p.storage, diskSize)
	if err != nil {
		return err
	}
	p.closeBackup = remove
	if p.backup, err = fixture.NewBackup(p.bin, pool, "--keep daily=30,monthly=24"); err != nil {
		return err
	}
	p.closeBackup = func() error {
		p.backup.Close()
		return remove()
	}
	if p.volsnap, err = p.node.ReplicateTo(p.backup, p.bin); err != nil {
		return err
	}
	for _, c := range []struct {
		heading string
		args    []string
	}{
		{"A backup server: another Btrfs, behind an sshd on loopback. Does it answer, and does it refuse what it should?", []string{"check", fixture.App}},
		{"Send it what there is: the oldest set as a whole", []string{"replicate", fixture.App}},
		{"Another night: only what has changed is sent", []string{"run", fixture.App}},
		{"Nothing to send", []string{"replicate", fixture.App}},
		{"The sets there", []string{"list", fixture.App, "--target", "backup"}},
		{"How fresh is everything?", []string{"status"}},
	} {
		if err := p.show(ctx, c.heading, someLines, c.args...); err != nil {
			return err
		}
	}
	return nil
}

// closed does what is to be done at the end, if the act came that far.
func (p *play) closed() error {
	if p.closeBackup == nil {
		return nil
	}
	return p.closeBackup()
}

// replicas are the sets at the backup server, oldest first.
func (p *play) replicas(ctx context.Context) ([]fixture.Set, error) {
	stdout, _, err := p.volsnap.Run(ctx, "list", fixture.App, "--target", "backup", "--json")
	if err != nil {
		return nil, err
	}
	var sets []fixture.Set
	if err := json.Unmarshal([]byte(stdout), &sets); err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		return nil, errors.New("the backup server has no set")
	}
	return sets, nil
}
