from jft.costs.hlo import Instruction, Program

TEXT = """HloModule jit_step, entry_computation_layout={(f32[2,3]{1,0})}

FileNames
1 "step.py"

%wide (p.1: f32[2,3], p.2: f32[3]) -> (f32[2,3], f32[]) {
  %p.1 = f32[2,3]{1,0} parameter(0)
  %p.2 = f32[3]{0} parameter(1)
  %scaled = f32[2,3]{1,0} multiply(%p.1, %p.1), metadata={op_name="jit(step)/mul"}
  %zero = f32[] constant(0)
  ROOT %pair = (f32[2,3]{1,0}, /*index=1*/f32[]) tuple(%scaled, %zero)
}

ENTRY %main.7 (x: f32[2,3], y: f32[3]) -> f32[2,3] {
  %x = f32[2,3]{1,0:T(8,128)} parameter(0), metadata={op_name="params[\\'stem\\']"}
  %y = f32[3]{0} parameter(1)
  %fused = (f32[2,3]{1,0}, f32[]) fusion(%x, /*index=1*/%y), kind=kLoop, calls=%wide
  %first = f32[2,3]{1,0} get-tuple-element(%fused), index=0
  %sum = f32[3]{0} reduce(%first, %y), dimensions={0}, to_apply=%wide
  ROOT %called = f32[2,3]{1,0} call(%sum, %y), to_apply=%wide
}
"""
PROGRAM = Program(TEXT)


def named(name: str) -> Instruction:
    return PROGRAM.instructions[name]


def before(name: str) -> list[str]:
    return [instruction.name for instruction in PROGRAM.before(named(name))]


def test_every_instruction_is_read_with_its_parts():
    names = "p.1 p.2 scaled zero pair x y fused first sum called"
    assert list(PROGRAM.instructions) == names.split()
    assert named("fused") == Instruction(
        name="fused",
        computation="main.7",
        shape="(f32[2,3]{1,0}, f32[])",
        opcode="fusion",
        operands=("x", "y"),
        attributes=", kind=kLoop, calls=%wide",
        op_name="",
    )
    assert named("scaled").op_name == "jit(step)/mul"
    assert named("x").shape == "f32[2,3]{1,0:T(8,128)}"


def test_only_fusions_and_calls_run_a_body_on_their_operands():
    bodies = {name: i.body for name, i in PROGRAM.instructions.items() if i.body}
    assert bodies == {"fused": "wide", "called": "wide"}


def test_what_comes_before_leads_into_fusions_and_out_again():
    assert before("first") == ["fused"]
    assert before("fused") == ["pair"]
    assert before("pair") == ["scaled", "zero"]
    assert before("scaled") == ["p.1", "p.1"]
    assert before("p.1") == ["x", "sum"]
    assert before("p.2") == ["y", "y"]
    assert before("sum") == ["first", "y"]


def test_nothing_comes_before_arguments_and_constants():
    assert before("x") == before("y") == before("zero") == []
