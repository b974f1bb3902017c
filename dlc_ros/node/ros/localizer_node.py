"""The lifecycle node: its parameters and its transitions."""

import traceback

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from dlc_ros.errors import DlcError
from dlc_ros.node.ros.parameters import declare, read, with_changes
from dlc_ros.node.ros.session import Session


class LocalizerNode(LifecycleNode):
    """
    Configured, it has loaded references and weights, takes commands and reports diagnostics;
    active, it takes clouds and publishes poses.

    :param name: node name, unless ROS remaps it.
    :param options: keyword arguments of :class:`rclpy.node.Node`.
    :raises ParameterError: a parameter is unknown or has a value that is not allowed.
    """

    def __init__(self, name='localizer', **options):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self._session = None  # between configure and cleanup
        self._survive_impossible_transitions()
        declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def close(self):
        """Stop the threads and leave the graph."""
        self._end_session()
        self.destroy_node()

    # Transitions: cleanup undoes configure, deactivate undoes activate. rclpy drops what a
    # transition raises without a word, so nothing may leave one.

    def on_configure(self, _state):
        """Load references and weights, open commands and diagnostics."""
        try:
            self._session = Session(self, read(self))
        except DlcError as error:
            self.get_logger().error(f'not configured: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().fatal(f'not configured: {traceback.format_exc()}')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, _state):
        """Take clouds, publish."""
        try:
            self._session.start()
        except Exception as error:  # such as a QoS override that does not exist
            self.get_logger().error(f'not activated: {error}')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, _state):
        """Take no clouds and publish nothing; poses, references and weights are kept."""
        self._session.stop()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, _state):
        """Close everything and free the model."""
        self._end_session()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, _state):
        """Close everything, from any state."""
        self._end_session()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, _state):
        """Go back to where the node can be configured again."""
        self._end_session()
        return TransitionCallbackReturn.SUCCESS

    def _survive_impossible_transitions(self):
        """
        Answer "no success" to a transition that the state does not have.

        rclpy lets it end the process, without an answer (ros2/rclpy#1209), and nav2's lifecycle
        manager asks for such transitions when it shuts down.
        """
        (service,) = (s for s in self.services if s.srv_type is ChangeState)
        change_state = service.callback

        def answer(request, response):
            try:
                return change_state(request, response)
            except RuntimeError as error:
                self.get_logger().error(f'transition {request.transition.id} refused: {error}')
                response.success = False
                return response

        service.callback = answer

    def _end_session(self):
        if self._session is not None:
            self._session.close()
            self._session = None

    def _on_set_parameters(self, changes):
        """Check a change, and apply it if the node is configured: all of it or nothing."""
        try:
            parameters = with_changes(self, changes)
        except DlcError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if parameters is None or self._session is None:
            return SetParametersResult(successful=True)
        result = self._session.update(parameters)
        return SetParametersResult(successful=result.accepted, reason=result.message)
