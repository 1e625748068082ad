package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// up makes a project of two services with a network and a volume.
func (b *bench) up() plan.Query {
	b.t.Helper()
	network, volume := b.project+"_default", b.project+"_data"
	labels := map[string]string{plan.LabelProject: b.project, plan.LabelNetwork: "default", plan.LabelVolume: "data"}
	if err := b.CreateNetwork(b.t.Context(), plan.Network{Name: network}, labels); err != nil {
		b.t.Fatal(err)
	}
	if err := b.CreateVolume(b.t.Context(), plan.Volume{Name: volume}, labels); err != nil {
		b.t.Fatal(err)
	}
	q := plan.Query{Project: b.project, Networks: []string{network}, Volumes: []string{volume}, Images: []string{imageRef, imageRef}}
	for _, name := range []string{"mosquitto", "cloudflared"} {
		c := b.service(name, "serve")
		c.Service.Spec.NetworkMode = ""
		c.Service.Spec.Networks = []plan.Endpoint{{Network: network}}
		c.Service.Spec.Mounts = []plan.Mount{{Type: plan.MountVolume, Source: volume, Target: "/data"}}
		b.start(c)
		q.Names = append(q.Names, c.Name)
	}
	return q
}

func TestAProjectWithNothingToDoIsObservedInTwoCalls(t *testing.T) {
	b := newBench(t)
	if _, err := b.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if calls := b.take(); !slices.Equal(calls, []string{"HEAD /_ping 200"}) {
		t.Errorf("ping made the calls %v", calls)
	}
	q := b.up()
	b.take()
	o, err := b.Observe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"GET /containers/json 200", "GET /networks 200"}
	if diff := cmp.Diff(want, b.take()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(o.Containers) != 2 || len(o.Networks) != 1 || len(o.Volumes) != 1 || len(o.Foreign) != 0 {
		t.Fatalf("observed %+v", o)
	}
	network := o.Networks[0]
	if network.ID == "" || network.Labels[plan.LabelNetwork] != "default" {
		t.Errorf("network %+v", network)
	}
	if v := o.Volumes[0]; v.Name != q.Volumes[0] || v.Labels[plan.LabelVolume] != "data" || v.Labels[plan.LabelProject] != b.project {
		t.Errorf("volume %+v", v)
	}
	for _, c := range o.Containers {
		if c.State != plan.StateRunning || c.Networks[network.Name] != network.ID || !slices.Contains(c.Volumes, q.Volumes[0]) ||
			c.Image != imageRef || !strings.HasPrefix(c.ImageID, "sha256:") || c.Service() == "" || c.Created.IsZero() {
			t.Errorf("container %+v", c)
		}
	}
	if img := o.Images[imageRef]; !slices.Contains(img.Digests, "x") || !slices.Contains(img.Digests, o.Containers[0].ImageID) {
		t.Errorf("image %+v has not the digests of its containers", img)
	}
	// The label says "x": asked itself, the Engine knows better.
	img, found, err := b.Image(t.Context(), imageRef, "")
	if err != nil || !found || img.ID != o.Containers[0].ImageID || img.OS != "linux" || !slices.Equal(img.ExposedPorts, []string{"9001/tcp"}) {
		t.Errorf("Image = %+v, %v, %v", img, found, err)
	}
}

func TestAContainerThatIsBeingMadeIsWaitedFor(t *testing.T) {
	b := newBench(t)
	var group errgroup.Group
	group.Go(func() error {
		for i := range 10 {
			if _, err := b.CreateContainer(t.Context(), b.service(fmt.Sprintf("s%d", i), "serve")); err != nil {
				return err
			}
		}
		return nil
	})
	for seen := 0; seen < 10; {
		o, err := b.Observe(t.Context(), plan.Query{Project: b.project})
		if err != nil {
			t.Error(err)
			break
		}
		seen = len(o.Containers)
		for _, c := range o.Containers {
			if _, err := b.Inspect(t.Context(), c.ID); err != nil {
				t.Errorf("of %d containers that were observed one cannot be used: %v", seen, err)
			}
		}
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsMissingOrForeignIsSeen(t *testing.T) {
	b, other := newBench(t), newBench(t)
	taken := b.service("mosquitto", "serve")
	taken.Labels[plan.LabelProject] = other.project
	b.create(taken) // other's container, under a name that b wants
	similar := other.service("similar")
	similar.Name = taken.Name + "0"
	other.create(similar)
	oneoff := b.service("run")
	oneoff.Labels[plan.LabelOneoff] = "True"
	once := b.create(oneoff)
	defer func() {
		if err := b.Remove(t.Context(), once, true); err != nil {
			t.Error(err)
		}
	}()
	volume := plan.Volume{Name: other.project + "_theirs"}
	if err := b.CreateVolume(t.Context(), volume, map[string]string{plan.LabelProject: other.project}); err != nil {
		t.Fatal(err)
	}
	o, err := b.Observe(t.Context(), plan.Query{
		Project: b.project, Names: []string{taken.Name}, Networks: []string{"bridge"},
		Volumes: []string{volume.Name, b.project + "_data"}, Images: []string{imageRef, b.project + ":absent"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Containers) != 0 {
		t.Errorf("containers of the project: %+v, want none: a one-off is not one", o.Containers)
	}
	if len(o.Foreign) != 1 || o.Foreign[0].Name != taken.Name || o.Foreign[0].Project() != other.project {
		t.Errorf("foreign %+v, want the one that holds the name", o.Foreign)
	}
	if len(o.Networks) != 1 || o.Networks[0].Name != "bridge" || len(o.Volumes) != 1 || o.Volumes[0].Labels[plan.LabelProject] != other.project {
		t.Errorf("networks %+v, volumes %+v", o.Networks, o.Volumes)
	}
	if _, found := o.Images[b.project+":absent"]; found || o.Images[imageRef].ID == "" {
		t.Errorf("images %+v", o.Images)
	}
}

func TestNetworksAndVolumesAreOnlyTakenWhenOurs(t *testing.T) {
	b, other := newBench(t), newBench(t)
	network := plan.Network{Name: b.project + "_default"}
	labels := func(project string) map[string]string {
		return map[string]string{plan.LabelProject: project, plan.LabelNetwork: "default", plan.LabelVolume: "data"}
	}
	for range 2 {
		if err := b.CreateNetwork(t.Context(), network, labels(b.project)); err != nil {
			t.Fatal(err)
		}
	}
	err := other.CreateNetwork(t.Context(), network, labels(other.project))
	if remedy.CodeOf(err) != remedy.Input || !strings.Contains(err.Error(), "belongs to Compose project "+b.project) {
		t.Errorf("creating a network that is another project's: %v", err)
	}
}

func TestWhatIsInUseNamesItsContainers(t *testing.T) {
	b := newBench(t)
	q := b.up()
	err := b.RemoveNetwork(t.Context(), q.Networks[0])
	want := "remove network " + q.Networks[0] + ": still in use by containers " + q.Names[1] + ", " + q.Names[0]
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	err = b.RemoveVolume(t.Context(), q.Volumes[0])
	want = "remove volume " + q.Volumes[0] + ": still in use by containers " + q.Names[1] + ", " + q.Names[0]
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, name := range q.Names {
		if err := b.Remove(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.RemoveNetwork(t.Context(), q.Networks[0]); err != nil {
			t.Error(err)
		}
		if err := b.RemoveVolume(t.Context(), q.Volumes[0]); err != nil {
			t.Error(err)
		}
	}
}
