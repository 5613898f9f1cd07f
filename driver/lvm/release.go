package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// releaseLimit is how long Release waits for LVM to let a volume group go. One that works there resumes what it suspended.
const releaseLimit = 30 * time.Second

// Release implements driver.Releaser: it resumes origins that a killed lvcreate left suspended in the making of a snapshot of
// ours. What is suspended for another reason stays so. It starts no process where nothing is suspended.
func (d *Driver) Release(ctx context.Context) (released []string, err error) {
	groups, err := suspendedGroups()
	if err != nil {
		return nil, fmt.Errorf("look for suspended volumes: %w", err)
	}
	var failed []error
	for vg := range groups {
		names, err := release(ctx, vg)
		released, failed = append(released, names...), append(failed, err)
	}
	return released, errors.Join(failed...)
}

// release resumes what there is to resume in one group, with LVM kept out: whoever works there resumes by itself.
func release(ctx context.Context, vg string) (released []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	unlock, err := lockGroup(ctx, vg)
	if err != nil {
		return nil, err
	}
	defer unlock()
	now, err := suspendedGroups()
	if err != nil || len(now[vg]) == 0 {
		return nil, err
	}
	text, err := ask(ctx, append(report(fields), "--nolocking", vg)...)
	if err != nil {
		return nil, err
	}
	all, err := parseReport[lv](text)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, origin := range originsInTheMaking(all) {
		if !slices.Contains(now[vg], origin) {
			continue
		}
		if err := resume(ctx, deviceName(vg, origin)); err != nil {
			failed = append(failed, err)
			continue
		}
		released = append(released, vg+"/"+origin)
	}
	return released, errors.Join(failed...)
}

// originsInTheMaking are the origins of snapshots of ours that were not sealed, of new stages, and the bases of what is being received.
func originsInTheMaking(all []lv) []string {
	var origins []string
	for _, v := range all {
		s, ok := judge(v)
		_, arriving := inArrival(v)
		if (ok && !s.Sealed && s.Fault == "" || arriving || v.isNewStage()) && v.Origin != "" && !slices.Contains(origins, v.Origin) {
			origins = append(origins, v.Origin)
		}
	}
	return origins
}

// suspendedGroups are the suspended logical volumes of this host by group, as the kernel says.
func suspendedGroups() (map[string][]string, error) {
	states, err := filepath.Glob("/sys/block/dm-*/dm/suspended")
	if err != nil {
		return nil, err
	}
	groups := map[string][]string{}
	for _, at := range states {
		dir := filepath.Dir(at)
		state, err := os.ReadFile(at)
		uuid, err2 := os.ReadFile(filepath.Join(dir, "uuid"))
		name, err3 := os.ReadFile(filepath.Join(dir, "name"))
		if errors.Join(err, err2, err3) != nil {
			continue // gone meanwhile
		}
		if strings.TrimSpace(string(state)) != "1" || !strings.HasPrefix(string(uuid), uuidPrefix) {
			continue
		}
		if vg, lv, ok := deviceParts(strings.TrimSpace(string(name))); ok {
			groups[vg] = append(groups[vg], lv)
		}
	}
	return groups, nil
}

// deviceParts is the inverse of deviceName: the dash between group and volume is the one that is not doubled.
func deviceParts(device string) (vg, lv string, ok bool) {
	for i := 0; i < len(device); i++ {
		if device[i] != '-' {
			continue
		}
		if i+1 < len(device) && device[i+1] == '-' {
			i++
			continue
		}
		single := func(s string) string { return strings.ReplaceAll(s, "--", "-") }
		vg, lv = single(device[:i]), single(device[i+1:])
		return vg, lv, validName(vg) && validName(lv)
	}
	return "", "", false
}
