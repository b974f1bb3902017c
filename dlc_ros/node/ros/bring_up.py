"""For launch files: takes a lifecycle node from its start to active."""

import threading

from launch.event_handlers import OnProcessExit
from launch.logging import get_logger
from launch_ros.ros_adapters import get_ros_node
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from launch import Action, Event

# How long an answer may take before it counts as lost [s]: a big map takes a while to load. A
# question about the state may be repeated: the service of a node that was killed stays known for
# a while, and the new one does not hear what is asked before it was found as well.
_PATIENCE = 60.0
_PATIENCE_FOR_STATE = 2.0
_STEP = 0.5
_NEXT = {
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, 'configured'),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, 'activated'),
}


class BroughtUp(Event):
    """A node is active."""

    name = 'dlc_ros.BroughtUp'


class BringUp(Action):
    """
    Configures and activates a node, then emits :class:`BroughtUp`.

    It asks for the state instead of waiting for transitions to be announced: an announcement that
    is made before launch has found its topic is lost, and the node would stay half way up.

    :param node: :class:`launch_ros.actions.LifecycleNode`, earlier in the launch description.
    :param options: keyword arguments of :class:`launch.Action`.
    """

    def __init__(self, node, **options):
        super().__init__(**options)
        self._node = node
        self._ended = threading.Event()

    def execute(self, context):
        """Begin, in a thread of its own."""
        ros, name = get_ros_node(context), self._node.node_name
        self._ask_state = ros.create_client(GetState, f'{name}/get_state')
        self._ask_change = ros.create_client(ChangeState, f'{name}/change_state')
        self._log = get_logger(name.lstrip('/'))
        context.register_event_handler(
            OnProcessExit(target_action=self._node, on_exit=lambda *_: self._ended.set())
        )
        run = context.asyncio_loop.run_in_executor(None, self._run, context)
        context.add_completion_future(run)

    def _run(self, context):
        def over():
            return self._ended.is_set() or context.is_shutdown

        while not over():
            response = _ask(self._ask_state, GetState.Request(), _PATIENCE_FOR_STATE, over)
            if response is None:
                continue
            state = response.current_state.id
            if state == State.PRIMARY_STATE_ACTIVE:
                context.asyncio_loop.call_soon_threadsafe(context.emit_event_sync, BroughtUp())
                return
            if state == State.PRIMARY_STATE_FINALIZED:
                return
            if state not in _NEXT:  # on its way, as somebody else told it to
                self._ended.wait(_STEP)
                continue
            transition, done = _NEXT[state]
            request = ChangeState.Request(transition=Transition(id=transition))
            response = _ask(self._ask_change, request, _PATIENCE, over)
            if response is not None and not response.success:
                self._log.error(f'it could not be {done}; its own log above says why')
                return


def _ask(client, request, patience, over):
    """Response of a service, or None if none came in so many seconds."""
    while not client.wait_for_service(timeout_sec=_STEP):
        if over():
            return None
    answered = threading.Event()
    future = client.call_async(request)
    future.add_done_callback(lambda _: answered.set())
    for _ in range(round(patience / _STEP)):
        if answered.wait(_STEP):
            return future.result()
        if over():
            break
    client.remove_pending_request(future)
    return None
