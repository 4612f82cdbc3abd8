package pod

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// storySteps is how long each made-up story is.
const storySteps = 60

// TestStories tells made-up stories of pods and holds every step in them to the rules.
func TestStories(t *testing.T) {
	for seed := range uint64(60) {
		tellStory(t, seed)
		if t.Failed() {
			t.Fatalf("story %d", seed)
		}
	}
}

// FuzzStories looks for stories that break a rule.
func FuzzStories(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(tellStory)
}

func tellStory(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	policies := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	inits := []string{"", "i", "+s", "i +s j", "+s i +u", "+s +u"}
	w := newSidecarWorld(t, policies[r.IntN(3)], inits[r.IntN(len(inits))], []string{"a", "b"}[:1+r.IntN(2)]...)
	s := &story{world: w, rand: r, begun: map[string]int{}}
	for range storySteps {
		s.settle()
		s.checkStatus()
		if s.finished || t.Failed() {
			return
		}
		s.happen()
	}
}

// story is a world in which things happen by chance.
type story struct {
	*world
	rand     *rand.Rand
	begun    map[string]int // starts of ephemeral containers
	terminal corev1.PodPhase
	finished bool
}

// settle does steps, each checked, until there is none.
func (s *story) settle() {
	for range 100 {
		s.noteEnd()
		before := s.print()
		step := Next(&s.View, s.now)
		if again := Next(&s.View, s.now); !reflect.DeepEqual(step, again) {
			s.Errorf("two answers to one question: %+v and %+v", step, again)
		}
		if after := s.print(); after != before {
			s.Errorf("Next changed its view from %s to %s", before, after)
		}
		s.check(step)
		if step.Kind == Wait {
			if !step.At.IsZero() && !step.At.After(s.now) {
				s.Errorf("waits for %v, which is over at %v", step.At, s.now)
			}
			return
		}
		s.do(step)
		if step.Kind == Finished {
			s.finished = true
			return
		}
	}
	s.Errorf("no end of steps: %v", s.trace)
}

func (s *story) print() string {
	out := fmt.Sprintf("%+v %v %v", s.Observed, s.Stopping, s.Over)
	for c := range Containers(s.Pod) {
		out += fmt.Sprintf(" %s %+v", c.Name, *s.Memory[c.Name])
	}
	return out
}

// noteEnd does as the worker does: an end is fixed and told when nothing runs.
func (s *story) noteEnd() {
	ended, _ := s.Ended()
	if (ended || s.Stopping != nil) && len(s.Running()) == 0 {
		s.Over = true
	}
}

// check holds a step to the rules.
func (s *story) check(step Step) {
	switch step.Kind {
	case StartContainer:
		s.checkStart(step)
	case KillContainers:
		if len(step.Instances) == 0 {
			s.Error("kills nothing")
		}
		s.checkOrder(step)
	case RunSandbox, MakeVolumes:
		if s.Stopping != nil || s.Over {
			s.Errorf("step %+v of a pod that ends", step)
		}
	case StopSandbox:
		if (s.Stopping != nil || s.Over) && len(s.Running()) > 0 {
			s.Error("the sandbox is stopped before its containers")
		}
	case RemoveSandbox, RemoveVolumes, Finished:
		if (s.Stopping != nil || s.Over) && !s.Told {
			s.Errorf("step %d before the end is told", step.Kind)
		}
	}
}

func (s *story) checkStart(step Step) {
	name := step.Container.Name
	if s.Stopping != nil || s.Over {
		s.Errorf("%s is started though the pod ends", name)
	}
	if i := s.Newest(name); i != nil && i.State == Running && s.inSandbox(i) {
		s.Errorf("%s is started though it runs", name)
	}
	_, role := Find(s.Pod, name)
	if role == Ephemeral {
		if s.begun[name]++; s.begun[name] > 1 && step.ID == "" {
			s.Errorf("%s is started again", name)
		}
		return
	}
	if role == Main && s.mainsBegan() {
		return
	}
	for c, other := range Containers(s.Pod) {
		if c.Name == name || other == Main {
			return
		}
		i := s.newest(c.Name)
		if i == nil || !s.inSandbox(i) {
			s.Errorf("%s is started before %s began", name, c.Name)
		} else if other == Init && (i.State != Exited || i.ExitCode != 0) {
			s.Errorf("%s is started before %s succeeded: %+v", name, c.Name, *i)
		}
	}
}

// checkOrder: no sidecar is stopped while there is time and something runs that began after it.
func (s *story) checkOrder(step Step) {
	ended, _ := s.Ended()
	if s.Stopping == nil && !ended || s.Stopping != nil && (s.Stopping.Forced || !s.now.Before(s.Stopping.Deadline)) {
		return
	}
	killed := map[string]bool{}
	for _, i := range step.Instances {
		killed[i.Name] = true
	}
	var order []string
	for c, role := range Containers(s.Pod) {
		if role == Sidecar {
			order = append(order, c.Name)
		}
	}
	for _, i := range s.Running() {
		if killed[i.Name] {
			continue
		}
		for name := range killed {
			at, other := slices.Index(order, name), slices.Index(order, i.Name)
			if at >= 0 && (other < 0 || other > at) {
				s.Errorf("%s is stopped before %s", name, i.Name)
			}
		}
	}
}

// checkStatus: an end is told when nothing runs, and never taken back.
func (s *story) checkStatus() {
	status := s.status()
	if Terminal(status.Phase) && len(s.Running()) > 0 {
		s.Errorf("phase %s though %v run", status.Phase, s.Running())
	}
	if Ready(status) && status.Phase != corev1.PodRunning {
		s.Errorf("ready in phase %s", status.Phase)
	}
	if s.terminal != "" && !s.Told && status.Phase != s.terminal {
		s.Errorf("phase %s became %s", s.terminal, status.Phase)
	}
	if Terminal(status.Phase) {
		s.terminal = status.Phase
	}
}

// happen makes one thing happen.
func (s *story) happen() {
	s.now = s.now.Add(time.Duration(s.rand.IntN(200)) * time.Second)
	running := s.Running()
	switch n := s.rand.IntN(20); {
	case n < 7 && len(running) > 0:
		s.exit(running[s.rand.IntN(len(running))].Name, int32(s.rand.IntN(2)))
	case n < 12 && len(running) > 0:
		s.probed(running[s.rand.IntN(len(running))].Name)
	case n == 12 && s.Sandbox() != nil:
		s.loseSandbox(s.Sandbox().ID, 137)
		for _, m := range s.Memory {
			m.Started = false
		}
	case n == 13 && len(running) > 0:
		i := running[s.rand.IntN(len(running))]
		s.Memory[i.Name].Condemned = i.ID
	case n == 14 && len(running) > 0:
		i := running[s.rand.IntN(len(running))]
		s.Memory[i.Name].Hook = i.ID
	case n == 15:
		for _, m := range s.Memory {
			m.Hook = ""
		}
	case n == 16 && len(s.Pod.Spec.EphemeralContainers) < 3 && s.Stopping == nil:
		s.addEphemeral()
	case n == 17 && s.Stopping == nil && s.rand.IntN(4) == 0:
		s.Stopping = &Stopping{Deadline: s.now.Add(time.Duration(s.rand.IntN(300)) * time.Second), Forced: s.rand.IntN(4) == 0}
	case n == 18:
		s.Told = s.Over
	case n == 19 && len(running) > 0:
		s.Newest(running[s.rand.IntN(len(running))].Name).State = Unknown
	}
}

func (s *story) addEphemeral() {
	name := fmt.Sprintf("e%d", len(s.Pod.Spec.EphemeralContainers))
	s.Pod.Spec.EphemeralContainers = append(s.Pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "i"},
	})
	s.Memory[name] = &Memory{}
}
