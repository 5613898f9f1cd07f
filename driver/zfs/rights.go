package zfs

import (
	"context"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/volsnap/volsnap/driver"
)

// needed are the permissions of zfs-allow(8) without which something here fails.
var needed = []string{"clone", "destroy", "hold", "mount", "release", "snapshot", "userprop"}

// missingRights finds what somebody who is not root has not been allowed.
func missingRights(ctx context.Context, dataset string, needed []string) ([]driver.Finding, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	out, err := run(ctx, "zfs", "allow", dataset)
	if err != nil {
		return nil, err
	}
	a := allowed{user: me.Username, groups: map[string]bool{}}
	ids, err := me.GroupIds()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			a.groups[g.Name] = true
		}
	}
	lacks := a.lacks(dataset, out, needed)
	if len(lacks) == 0 {
		return nil, nil
	}
	list := strings.Join(lacks, ",")
	return one(driver.Error, "as root: zfs allow -u "+me.Username+" "+list+" "+quote(dataset),
		"the user %s is not root and has no right on %s to: %s", me.Username, dataset, list), nil
}

// allowed reads what `zfs allow` prints.
type allowed struct {
	user   string
	groups map[string]bool
}

// lacks are the needed permissions that the text does not give on the dataset.
func (a allowed) lacks(dataset, out string, needed []string) []string {
	sets, have := map[string][]string{}, map[string]bool{}
	var granted []string
	grantsIn(out, func(at string, g grant) {
		perms := strings.Split(g.What, ",")
		switch {
		case g.Scope == "Permission sets:":
			sets[g.Who] = append(sets[g.Who], perms...)
		case !a.are(g.Who):
		case g.Scope == "Local+Descendent permissions:",
			g.Scope == "Local permissions:" && at == dataset,
			g.Scope == "Descendent permissions:" && at != dataset:
			granted = append(granted, perms...)
		}
	})
	for i := 0; i < len(granted); i++ { // it grows: a set may name sets
		if !have[granted[i]] {
			have[granted[i]] = true
			granted = append(granted, sets[granted[i]]...)
		}
	}
	return slices.DeleteFunc(slices.Clone(needed), func(p string) bool { return have[p] })
}

// are reports whether that is the user: "user NAME", "group NAME" or "everyone".
func (a allowed) are(who string) bool {
	name, isUser := strings.CutPrefix(who, "user ")
	group, isGroup := strings.CutPrefix(who, "group ")
	return who == "everyone" || isUser && name == a.user || isGroup && a.groups[group]
}
