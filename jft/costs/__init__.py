"""What a training step costs, stage by stage, read out of the compiled program."""

from jft.costs.backward import expected_backward as expected_backward
from jft.costs.backward import full_backward as full_backward
from jft.costs.backward import unneeded_backward as unneeded_backward
from jft.costs.memory import Memory as Memory
from jft.costs.memory import memory as memory
from jft.costs.operations import Operation as Operation
from jft.costs.operations import operations as operations
from jft.costs.totals import Cost as Cost
from jft.costs.totals import module_costs as module_costs
from jft.costs.totals import stage_costs as stage_costs
