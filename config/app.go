package config

import (
	"slices"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/retention"
)

func apps(v value, targets []string) []App {
	var all []App
	switch {
	case v.kind == none, v.kind == mapping && len(v.pairs) == 0:
		v.fail("is empty: at least one app is needed")
		return nil
	case !v.want(mapping, "{myapp: {project: myapp}}"):
		return nil
	}
	v.entries(func(name string, val value) {
		if !driver.ValidApp(name) {
			val.fail(`%s is no app name: want 1 to 32 of a-z, 0-9 and "-", with no "-" at either end`, quote(name))
		}
		all = append(all, app(name, val, targets))
	})
	return all
}

func app(name string, v value, targets []string) App {
	f := v.fields("project", "volumes", "freeze", "keep", "replicate", "source", "drill")
	a := App{Name: name, Freeze: defaultFreeze(), Drill: defaultDrill()}
	project, hasProject := f.get("project")
	if hasProject {
		a.Project, _ = project.name("a Compose project", "myapp", projectPattern, maxName)
	}
	vols, hasVolumes := f.get("volumes")
	freeze, hasFreeze := f.get("freeze")
	to, hasTarget := f.get("replicate")
	source, isElsewhere := f.get("source")
	switch {
	case isElsewhere && (hasProject || hasVolumes || hasFreeze):
		v.fail("has source beside project, volumes or freeze: its sets are taken there, by the configuration of that host")
	case isElsewhere && !hasTarget:
		v.fail("has source, and no target: say in replicate where its sets go to")
	case isElsewhere:
		a.Source, a.Freeze = source.source(), Freeze{}
	case hasVolumes:
		a.Volumes = volumes(vols, hasProject)
	case !hasProject && f.ok:
		v.fail("has neither project nor volumes: name the Compose project whose volumes are meant, or list them")
	}
	if hasFreeze {
		a.Freeze = readFreeze(freeze)
	}
	if keep, ok := f.get("keep"); ok {
		a.Keep = readKeep(keep)
	}
	if hasTarget {
		a.Replicate = replication(to, targets)
	}
	if d, ok := f.get("drill"); ok {
		a.Drill = readDrill(d, a.Volumes)
	}
	return a
}

func (v value) source() *Source {
	f := v.fields("ssh", "identity")
	s := &Source{}
	if dest, ok := f.get("ssh"); ok {
		s.SSH = dest.destination()
	} else if f.ok {
		v.fail("has no ssh: want the host that has the sets, such as root@node1.example.org")
	}
	if identity, ok := f.get("identity"); ok {
		s.Identity, _ = identity.path()
	}
	return s
}

func volumes(v value, hasProject bool) []Volume {
	var all []Volume
	var read []fields
	var names []string
	ok := v.each("[{volume: myapp_data}]", func(item value) {
		vol, f := volume(item)
		if name := vol.Name(); slices.Contains(names, name) {
			item.fail("%s is listed twice", quote(name))
		} else if name != "" {
			names = append(names, name)
		}
		all, read = append(all, vol), append(read, f)
	})
	switch {
	case ok && len(v.items) == 0 && hasProject:
		v.fail("is empty: leave the key out for all volumes of the project")
	case ok && len(v.items) == 0:
		v.fail("is empty: list at least one volume")
	}
	for i := range all { // only now, as it may name a volume that is listed further down
		all[i].NotOlderThan = notOlderThan(read[i], all[i].Name(), names)
	}
	return all
}

func volume(v value) (Volume, fields) {
	f := v.fields("volume", "path", "not_older_than")
	var vol Volume
	name, hasName := f.get("volume")
	path, hasPath := f.get("path")
	if hasName {
		vol.Volume, _ = name.volume()
	}
	if hasPath {
		vol.Path, _ = path.path()
	}
	switch {
	case hasName && hasPath:
		v.fail("has both volume and path: list them as two")
	case !hasName && !hasPath && f.ok:
		v.fail("has neither volume nor path: want one of them")
	}
	return vol, f
}

func notOlderThan(f fields, self string, names []string) []string {
	v, ok := f.get("not_older_than")
	if !ok {
		return nil
	}
	return v.names("[myapp_db]", func(item value) (string, bool) {
		name, ok := item.str("myapp_db")
		switch {
		case !ok:
			return "", false
		case name == self:
			item.fail("%s names itself", quote(name))
			return "", false
		case !slices.Contains(names, name):
			item.fail("no volume %s in this app%s", quote(name), suggest(name, names, "volumes"))
			return "", false
		}
		return name, true
	})
}

func readKeep(v value) retention.Policy {
	var p retention.Policy
	f := v.fields("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
	for _, rule := range []struct {
		key   string
		count *int
	}{
		{"last", &p.Last},
		{"hourly", &p.Hourly},
		{"daily", &p.Daily},
		{"weekly", &p.Weekly},
		{"monthly", &p.Monthly},
		{"yearly", &p.Yearly},
	} {
		if val, ok := f.get(rule.key); ok {
			*rule.count = val.count(retention.MaxCount)
		}
	}
	p.Within = f.span("within", 0, 0, retention.MaxDuration)
	return p
}
